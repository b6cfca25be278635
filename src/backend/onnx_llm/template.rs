//! The model's chat template: a conversation as the one text that the model was trained on. Pure but for the
//! clock that a template may ask for.

mod functions;
mod python;
mod turns;
mod values;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use self::turns::ARRANGEMENTS;
use self::values::{message_values, tool_value};
use super::answer::{CallForm, THOUGHT};
use super::files::Files;
use crate::backend::LoadError;
use crate::engine::llm::{ChatMessage, ChatRole, ToolSpec};

/// A compiled template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    with_tools: &'static str,
    special: Map<String, Value>,
    calls: Option<CallForm>,
    /// Whether it takes tools under SmolLM3's name for them.
    wants_xml_tools: bool,
    opens_thought: bool,
}

impl ChatTemplate {
    /// The template of a model's directory: files of their own go before what `settings` (`tokenizer_config.json`)
    /// hold.
    pub(super) fn read(files: &Files<'_>, settings: &Value) -> Result<Self, LoadError> {
        let plain = files.optional_text("chat_template.jinja");
        let tools = files.optional_text("additional_chat_templates/tool_use.jinja");
        let of_processor = files.optional_json("chat_template.json")["chat_template"].take();
        let templates = match (plain, tools) {
            (Some(plain), Some(tools)) => json!([
                { "name": "default", "template": plain }, { "name": "tool_use", "template": tools } ]),
            (Some(plain), None) => json!(plain),
            (None, _) => {
                Some(settings["chat_template"].clone()).filter(|own| !own.is_null()).unwrap_or(of_processor)
            }
        };
        Self::new(settings, &templates).map_err(|reason| files.invalid("tokenizer_config.json", reason))
    }

    /// `templates` is one text, or a list of named ones; `settings` give the special tokens.
    pub(super) fn new(settings: &Value, templates: &Value) -> Result<Self, String> {
        if templates.is_null() {
            return Err("the model has no chat template, so it is not made for conversations".into());
        }
        let (plain, tools) = choose(templates).ok_or("its chat template is not a text")?;
        let mut environment = environment()?;
        add(&mut environment, "chat", plain)?;
        if let Some(tools) = tools {
            add(&mut environment, "tools", tools)?;
        }
        let for_tools = tools.unwrap_or(plain);
        let mut template = Self {
            environment,
            with_tools: if tools.is_some() { "tools" } else { "chat" },
            special: special_tokens(settings),
            calls: CallForm::of_template(for_tools),
            wants_xml_tools: for_tools.contains("xml_tools"),
            opens_thought: false,
        };
        let least = template.render(&[&ChatMessage::text(ChatRole::User, ".")], &[]);
        template.opens_thought = least.is_ok_and(|text| text.trim_end().ends_with(THOUGHT));
        Ok(template)
    }

    /// How it has the model write calls; `None` where it shows no tools to it.
    pub(super) fn calls(&self) -> Option<CallForm> {
        self.calls
    }

    /// Whether an answer goes on with a thought that the prompt has begun.
    pub(super) fn opens_thought(&self) -> bool {
        self.opens_thought
    }

    /// The text of `messages` and `tools`, up to where the assistant's next message begins. A conversation that the
    /// template refuses is arranged anew until it takes it.
    pub(super) fn render(&self, messages: &[&ChatMessage], tools: &[ToolSpec]) -> Result<String, String> {
        let mut messages: Vec<ChatMessage> = messages.iter().map(|message| (*message).clone()).collect();
        let refusal = match self.render_as_is(&messages, tools) {
            Ok(text) => return Ok(text),
            Err(refusal) => refusal,
        };
        for arrange in ARRANGEMENTS {
            messages = arrange(messages);
            if let Ok(text) = self.render_as_is(&messages, tools) {
                return Ok(text);
            }
        }
        Err(refusal)
    }

    fn render_as_is(&self, messages: &[ChatMessage], tools: &[ToolSpec]) -> Result<String, String> {
        let name = if tools.is_empty() { "chat" } else { self.with_tools };
        let template = self.environment.get_template(name).map_err(|error| error.to_string())?;
        let tools: Option<Vec<Value>> = (!tools.is_empty()).then(|| tools.iter().map(tool_value).collect());
        let mut values = json!({
            "messages": message_values(messages), "tools": tools, "add_generation_prompt": true,
            // For models that would think aloud: nobody wants to hear it.
            "enable_thinking": false,
        });
        if self.wants_xml_tools {
            values["xml_tools"] = json!(tools);
        }
        for (token, text) in &self.special {
            values[token] = text.clone();
        }
        template
            .render(minijinja::value::Serde(values))
            .map_err(|error| format!("the chat template refuses the conversation: {error:#}"))
    }
}

/// As `transformers` sets Jinja up.
fn environment() -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", functions::raise_exception);
    environment.add_function("strftime_now", functions::strftime_now);
    environment.add_filter("tojson", functions::tojson);
    environment.add_filter("string", python::string);
    environment.set_formatter(python::print);
    Ok(environment)
}

fn add(environment: &mut Environment<'static>, name: &'static str, source: &str) -> Result<(), String> {
    // Marks of what is to be trained on: blocks that print what is in them.
    let mut source = source.to_owned();
    for open in ["{%", "{%-"] {
        source = source.replace(&format!("{open} generation "), &format!("{open} if true "));
        source = source.replace(&format!("{open} endgeneration "), &format!("{open} endif "));
    }
    environment
        .add_template_owned(name, source)
        .map_err(|error| format!("its chat template cannot be read: {error:#}"))
}

/// The template for plain conversations, and the one for tools where it is another.
fn choose(templates: &Value) -> Option<(&str, Option<&str>)> {
    let Some(list) = templates.as_array() else { return Some((templates.as_str()?, None)) };
    let named = |name: &str| {
        let entry = list.iter().find(|entry| entry["name"] == name)?;
        entry["template"].as_str()
    };
    let plain = named("default").or_else(|| list.first()?["template"].as_str())?;
    Some((plain, named("tool_use")))
}

/// A special token stands there as text or as an object with its text.
fn special_tokens(config: &Value) -> Map<String, Value> {
    let text = |key: &str| match &config[key] {
        Value::Object(token) => token.get("content").cloned().unwrap_or_default(),
        token => token.clone(),
    };
    let keys = ["bos_token", "eos_token", "pad_token", "unk_token"];
    keys.iter().map(|key| ((*key).to_owned(), text(key))).filter(|(_, text)| text.is_string()).collect()
}

#[cfg(test)]
mod tests;
