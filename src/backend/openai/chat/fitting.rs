//! Shortens talks that a model cannot read whole. The server's tokenizer is not at hand: tokens are estimated. Pure.

use crate::backend::openai::config::OpenAiLlmConfig;
use crate::backend::prompt::{Misfit, Prompt, fit};
use crate::engine::llm::{ChatMessage, LlmRequest, ToolSpec, Truncation};

/// Bytes of UTF-8 that are reckoned as one token: English has about 4 letters a token, and scripts with fewer
/// letters a token have more bytes a letter.
pub(super) const BYTES_PER_TOKEN: usize = 4;
/// Tokens that a chat template adds to each message, about.
const MESSAGE_TOKENS: usize = 4;
/// The share of the context that an answer may need where nobody limits it: a quarter.
const ANSWER_SHARE: usize = 4;
/// What stays, at most, of a talk that the server calls too long.
const CUT: f64 = 0.7;

/// Messages to send.
#[derive(Clone, Debug)]
pub(super) struct Talk<'a> {
    pub(super) messages: Vec<&'a ChatMessage>,
    /// By estimate, tools included.
    pub(super) tokens: usize,
    tools: usize,
    whole: &'a [ChatMessage],
}

impl Prompt for Talk<'_> {
    fn tokens(&self) -> usize {
        self.tokens
    }
}

impl<'a> Talk<'a> {
    fn of(whole: &'a [ChatMessage], kept: &[&'a ChatMessage], tools: usize) -> Self {
        let tokens = tools + kept.iter().map(|message| tokens_of(message)).sum::<usize>();
        Self { messages: kept.to_vec(), tokens, tools, whole }
    }
}

/// The talk as far as it fits `max_context`. By estimate the last turn alone may not fit either: then the server is to
/// judge. Where nothing may go, its tokens and the limit.
pub(super) fn fitted<'a>(
    request: &'a LlmRequest,
    config: &OpenAiLlmConfig,
) -> Result<Talk<'a>, (usize, usize)> {
    let tools = tokens_of_tools(&request.tools);
    let budget = config.max_context.map_or(usize::MAX, |context| {
        let answer = request.max_tokens.or(config.max_tokens).and_then(|tokens| usize::try_from(tokens).ok());
        context.saturating_sub(answer.unwrap_or(usize::MAX).min(context / ANSWER_SHARE))
    });
    match cut(&request.messages, tools, budget, request.truncation) {
        Ok(talk) => Ok(talk),
        Err(tokens) if request.truncation == Truncation::Disabled => Err((tokens, budget)),
        Err(tokens) => last_turn(&request.messages, tools).ok_or((tokens, budget)),
    }
}

/// The talk with turns less, after the server said that it is too long; `said` are its tokens and the limit as the
/// server counts, or zeros. `None` where nothing more may go.
pub(super) fn shortened<'a>(talk: &Talk<'a>, said: (usize, usize)) -> Option<Talk<'a>> {
    let (tokens, limit) = said;
    // A little less than what fits: an answer needs room too.
    let told = if tokens > 0 { 0.9 * limit as f64 / tokens as f64 } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a token count")]
    let budget = (talk.tokens as f64 * told.min(CUT)) as usize;
    let rule = Truncation::Retain { ratio: 1.0, max_tokens: None };
    let shorter =
        cut(talk.whole, talk.tools, budget, rule).ok().or_else(|| last_turn(talk.whole, talk.tools));
    shorter.filter(|shorter| shorter.messages.len() < talk.messages.len())
}

/// The system message and the last turn.
fn last_turn(messages: &[ChatMessage], tools: usize) -> Option<Talk<'_>> {
    let rule = Truncation::Retain { ratio: 0.0, max_tokens: Some(0) };
    cut(messages, tools, usize::MAX, rule).ok()
}

/// The talk within `budget` by the rule; else its tokens.
fn cut(messages: &[ChatMessage], tools: usize, budget: usize, rule: Truncation) -> Result<Talk<'_>, usize> {
    fit(messages, budget, rule, |kept| Ok(Talk::of(messages, kept, tools))).map_err(|misfit| match misfit {
        Misfit::TooLong { tokens } => tokens,
        // Reckoning does not fail.
        Misfit::Unreadable(_) => 0,
    })
}

fn tokens_of(message: &ChatMessage) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>();
    MESSAGE_TOKENS + (message.content.len() + calls).div_ceil(BYTES_PER_TOKEN)
}

fn tokens_of_tools(tools: &[ToolSpec]) -> usize {
    let bytes =
        |tool: &ToolSpec| tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
    tools.iter().map(|tool| MESSAGE_TOKENS + bytes(tool).div_ceil(BYTES_PER_TOKEN)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compute::Urgency;
    use crate::engine::llm::{ChatRole, ToolChoice};

    /// A system message of 4 + 1 tokens and turns of one question each, of so many tokens.
    fn talk(questions: &[usize], truncation: Truncation) -> LlmRequest {
        let system = ChatMessage::text(ChatRole::System, "Yes.");
        let question =
            |tokens: &usize| ChatMessage::text(ChatRole::User, "x".repeat((tokens - MESSAGE_TOKENS) * 4));
        LlmRequest {
            messages: std::iter::once(system).chain(questions.iter().map(question)).collect(),
            tools: [].into(),
            tool_choice: ToolChoice::Auto,
            max_tokens: Some(10),
            truncation,
            urgency: Urgency::default(),
        }
    }

    fn kept(request: &LlmRequest, max_context: Option<usize>) -> Result<usize, (usize, usize)> {
        let config = OpenAiLlmConfig { max_context, ..OpenAiLlmConfig::default() };
        fitted(request, &config).map(|talk| talk.messages.len())
    }

    #[test]
    fn a_known_context_leaves_room_for_the_answer() {
        let long = talk(&[30; 10], Truncation::Auto);
        assert_eq!(kept(&long, None), Ok(11));
        assert_eq!(kept(&long, Some(315)), Ok(11), "305 tokens and 10 for the answer");
        assert!(kept(&long, Some(314)).is_ok_and(|kept| (2..11).contains(&kept)));
        assert_eq!(kept(&long, Some(20)), Ok(2), "the server judges the last turn");
        assert_eq!(kept(&talk(&[30; 10], Truncation::Disabled), Some(200)), Err((305, 190)));
        let unlimited = LlmRequest { max_tokens: None, ..talk(&[30; 10], Truncation::Disabled) };
        assert_eq!(kept(&unlimited, Some(400)), Err((305, 300)), "a quarter is the answer's");
    }

    #[test]
    fn each_cut_makes_a_talk_shorter_until_one_turn_is_left() {
        for said in [(0, 0), (120, 100), (1_000, 100), (100, 100)] {
            let request = talk(&[30, 30, 30, 30, 200], Truncation::Auto);
            let mut talk = fitted(&request, &OpenAiLlmConfig::default()).expect("no limit");
            let mut lengths = vec![talk.messages.len()];
            while let Some(shorter) = shortened(&talk, said) {
                talk = shorter;
                lengths.push(talk.messages.len());
            }
            assert!(lengths.windows(2).all(|pair| pair[1] < pair[0]), "{lengths:?}");
            assert_eq!(talk.messages.len(), 2, "{said:?}: {lengths:?}");
            assert_eq!(talk.messages[0].role, ChatRole::System);
        }
    }

    #[test]
    fn tools_are_counted() {
        let tool =
            ToolSpec { name: "f".into(), description: "d".repeat(400), parameters: serde_json::json!({}) };
        let request = LlmRequest { tools: [tool].into(), ..talk(&[30; 4], Truncation::Disabled) };
        assert_eq!(kept(&request, Some(200)), Err((125 + 4 + 101, 190)));
    }
}
