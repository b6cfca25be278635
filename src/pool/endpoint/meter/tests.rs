//! Tables for each rule, and that limits hold and shares are kept whatever comes.

use proptest::prelude::*;

use super::*;

fn limits(requests_per_minute: u32, tokens_per_minute: u32) -> EndpointLimits {
    EndpointLimits { min_interval_ms: 0, requests_per_minute, tokens_per_minute, retries: 0 }
}

fn ask(holder: u64, active: u64) -> Ask {
    Ask { holder: HolderId(holder), tokens: 0, urgent: true, active }
}

/// A meter that is told of its calls as the schedule tells it.
struct Endpoint {
    meter: Meter,
    calls: u64,
    now: Instant,
}

impl Endpoint {
    fn new(limits: EndpointLimits) -> Self {
        Self { meter: Meter::new(limits), calls: 0, now: Instant::now() }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.meter.prune(self.now);
    }

    fn call(&mut self, ask: &Ask) -> Verdict {
        let verdict = self.meter.verdict(ask, self.now);
        if verdict == Verdict::Now {
            self.calls += 1;
            self.meter.start(Ticket::numbered(self.calls), ask, self.now);
        }
        verdict
    }

    /// Calls until the endpoint says otherwise; how many it took.
    fn burst(&mut self, ask: &Ask) -> u64 {
        let before = self.calls;
        while self.call(ask) == Verdict::Now {}
        self.calls - before
    }

    fn wait(&self, ask: &Ask) -> u64 {
        match self.meter.verdict(ask, self.now) {
            Verdict::Now => 0,
            Verdict::At(at) => u64::try_from((at - self.now).as_millis()).expect("small"),
        }
    }
}

#[test]
fn calls_keep_their_distance() {
    let mut endpoint = Endpoint::new(EndpointLimits { min_interval_ms: 50, ..limits(0, 0) });
    assert_eq!(endpoint.call(&ask(1, 1)), Verdict::Now);
    assert_eq!(endpoint.wait(&ask(2, 2)), 50);
    endpoint.pass(49);
    assert_eq!(endpoint.wait(&ask(2, 2)), 1);
    endpoint.pass(1);
    assert_eq!(endpoint.wait(&ask(2, 2)), 0);
}

#[test]
fn an_endpoint_that_asks_for_a_pause_has_it() {
    let mut endpoint = Endpoint::new(limits(0, 0));
    endpoint.meter.hold(endpoint.now + Duration::from_secs(7));
    endpoint.meter.hold(endpoint.now + Duration::from_secs(2));
    assert_eq!(endpoint.wait(&ask(1, 1)), 7_000, "the longer one");
    endpoint.pass(7_000);
    assert_eq!(endpoint.wait(&ask(1, 1)), 0);
    assert_eq!(endpoint.meter.held(endpoint.now), None);
}

#[test]
fn a_session_alone_has_half_at_once_and_the_rest_evenly_but_for_a_tenth() {
    let mut endpoint = Endpoint::new(limits(60, 0));
    let alone = ask(1, 1);
    assert_eq!(endpoint.burst(&alone), 30);
    assert_eq!(endpoint.wait(&alone), 6_000, "a tenth of the limit is lent in a tenth of the minute");
    let mut lent = 0;
    for _ in 0..9 {
        endpoint.pass(6_000);
        lent += endpoint.burst(&alone);
    }
    assert_eq!(lent, 24, "a tenth is kept");
    assert_eq!(endpoint.burst(&ask(2, 2)), 6, "for who comes next");
    endpoint.pass(6_000);
    assert_eq!(endpoint.burst(&ask(2, 2)), 14, "who is served up to its share of 20, as room comes back");
}

#[test]
fn sessions_have_equal_shares() {
    let mut endpoint = Endpoint::new(limits(60, 0));
    for holder in 1..=3 {
        assert_eq!(endpoint.burst(&ask(holder, 3)), 15);
    }
    assert_eq!(endpoint.burst(&ask(4, 4)), 12, "there is room for a fourth");
}

#[test]
fn what_nobody_waits_for_counts_against_no_share_and_leaves_half() {
    let mut endpoint = Endpoint::new(limits(60, 0));
    let idle = Ask { urgent: false, ..ask(1, 1) };
    let mut made = 0;
    for _ in 0..9 {
        made += endpoint.burst(&idle);
        endpoint.pass(6_000);
    }
    assert_eq!(made, 30, "half of the limit, evenly");
    assert_eq!(endpoint.burst(&ask(1, 1)), 30, "its share is whole");
    assert_eq!(endpoint.meter.shares(1)[0].requests, 60, "and what it used is told, all of it");
}

#[test]
fn tokens_are_counted_as_thought_and_then_as_they_were() {
    let mut endpoint = Endpoint::new(limits(0, 1_000));
    let long = Ask { tokens: 400, ..ask(1, 1) };
    assert_eq!(endpoint.call(&long), Verdict::Now);
    assert_ne!(endpoint.call(&long), Verdict::Now, "over its share of 500, and so a loan");
    endpoint.meter.settle(Ticket::numbered(1), 100);
    assert_eq!(endpoint.call(&long), Verdict::Now);
    assert_eq!(endpoint.meter.limits()[1], Some(LimitStats { limit: 1_000, used: 500 }));
    let endless = Ask { tokens: 5_000, ..ask(2, 2) };
    assert_ne!(endpoint.call(&endless), Verdict::Now);
    endpoint.pass(60_000);
    assert_eq!(endpoint.call(&endless), Verdict::Now, "larger than the limit: when all of it is free");
}

#[test]
fn a_session_that_ends_leaves_its_calls_but_no_share() {
    let mut endpoint = Endpoint::new(limits(60, 0));
    endpoint.burst(&ask(1, 1));
    assert_eq!(endpoint.meter.shares(1).len(), 1);
    endpoint.meter.forget(HolderId(1));
    assert_eq!((endpoint.meter.shares(0).len(), endpoint.meter.holders().count()), (0, 0));
    assert_eq!(endpoint.meter.limits()[0], Some(LimitStats { limit: 60, used: 30 }));
    endpoint.pass(60_000);
    assert_eq!(endpoint.meter.limits()[0], Some(LimitStats { limit: 60, used: 0 }));
}

proptest! {
    /// Whatever comes: no minute has more than its limit, nobody within its share is refused while there is room,
    /// and the books agree with the calls.
    #[test]
    fn limits_hold_and_shares_are_kept(
        limit in 1_u32..40,
        steps in prop::collection::vec((0_u64..5, 0_u64..9_000, any::<bool>()), 1..120),
    ) {
        let mut endpoint = Endpoint::new(limits(limit, 0));
        let mut log: Vec<(Instant, u64, bool)> = Vec::new();
        for (holder, ms, urgent) in steps {
            endpoint.pass(ms);
            log.retain(|(at, ..)| *at + MINUTE > endpoint.now);
            let ask = Ask { urgent, ..ask(holder, 5) };
            let mine = log.iter().filter(|(_, other, urgent)| *other == holder && *urgent).count() as u64;
            let has_room = (log.len() as u64) < u64::from(limit);
            let is_within = mine < share(limit.into(), 5);
            match endpoint.call(&ask) {
                Verdict::Now => log.push((endpoint.now, holder, urgent)),
                Verdict::At(at) => {
                    prop_assert!(at > endpoint.now, "else it would be asked again at once");
                    prop_assert!(!(urgent && is_within && has_room));
                }
            }
            prop_assert!(log.len() <= limit as usize);
            let used: u64 = endpoint.meter.shares(5).iter().map(|share| share.requests).sum();
            prop_assert_eq!(used, log.len() as u64);
        }
    }
}
