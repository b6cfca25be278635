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

/// The talk as far as it fits `max_context`; else its tokens and the limit.
pub(super) fn fitted<'a>(
    request: &'a LlmRequest,
    config: &OpenAiLlmConfig,
) -> Result<Talk<'a>, (usize, usize)> {
    let tools = tokens_of_tools(&request.tools);
    let budget = config.max_context.map_or(usize::MAX, |context| {
        let answer = request.max_tokens.or(config.max_tokens).and_then(|tokens| usize::try_from(tokens).ok());
        context.saturating_sub(answer.unwrap_or(usize::MAX).min(context / ANSWER_SHARE))
    });
    cut(&request.messages, tools, budget, request.truncation).map_err(|tokens| (tokens, budget))
}

/// The talk with turns less, after the server said that it is too long; `said` are its tokens and the limit as the
/// server counts, or zeros. `None` where nothing more may go.
pub(super) fn shortened<'a>(talk: &Talk<'a>, (tokens, limit): (usize, usize)) -> Option<Talk<'a>> {
    // A little less than what fits: an answer needs room too.
    let told = if tokens > 0 { 0.9 * limit as f64 / tokens as f64 } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a token count")]
    let budget = (talk.tokens as f64 * told.min(CUT)) as usize;
    let rule = Truncation::Retain { ratio: 1.0, max_tokens: None };
    cut(talk.whole, talk.tools, budget, rule)
        .ok()
        .filter(|shorter| shorter.messages.len() < talk.messages.len())
}

fn cut(messages: &[ChatMessage], tools: usize, budget: usize, rule: Truncation) -> Result<Talk<'_>, usize> {
    fit(messages, budget, rule, |kept| Ok(Talk::of(messages, kept, tools))).map_err(|misfit| match misfit {
        Misfit::TooLong { tokens } => tokens,
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
