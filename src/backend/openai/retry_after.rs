//! When a server wants to be asked again: `Retry-After` in seconds or as a date (RFC 9110), or OpenAI's
//! `retry-after-ms`. Pure but for the clock that a date is held against.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Longer is not waited for; a date far off is a wrong clock.
const MOST: Duration = Duration::from_secs(3600);

/// Milliseconds from now, where the headers say.
pub(super) fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let in_ms = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()).map(|ms| ms / 1e3);
    let wait = match in_ms {
        Some(seconds) => from_seconds(seconds)?,
        None => {
            let value = text(RETRY_AFTER.as_str())?;
            match value.parse::<f64>() {
                Ok(seconds) => from_seconds(seconds)?,
                // A date that is over means now.
                Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
            }
        }
    };
    u64::try_from(wait.min(MOST).as_millis()).ok()
}

fn from_seconds(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_milliseconds_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let table = [
            (&[("retry-after", "2")][..], Some(2_000)),
            (&[("retry-after", " 0.5 ")], Some(500)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(7_000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:20 GMT")], Some(0)),
            (&[("retry-after", "3"), ("retry-after-ms", "250")], Some(250)),
            (&[("retry-after", "999999")], Some(3_600_000)),
            (&[("retry-after", "1e300")], Some(3_600_000)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (pairs, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().expect("a value"));
            }
            assert_eq!(retry_after_ms(&headers, now), expected, "{pairs:?}");
        }
    }
}
