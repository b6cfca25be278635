use super::*;
use crate::backend::onnx_llm::OnnxLlmConfig;
use crate::engine::Device;
use crate::engine::llm::ToolCall;

/// Qwen 2.5's shape, shortened.
const QWEN: &str = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen.' }}
    {%- endif %}
    {{- "\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content.strip() + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"#;

fn template(source: &str) -> Result<ChatTemplate, String> {
    ChatTemplate::new(&json!({ "bos_token": { "content": "<s>" } }), &json!(source))
}

fn talk() -> Vec<ChatMessage> {
    let call = ToolCall { id: "c1".into(), name: "weather".into(), arguments: r#"{"city": "Oslo"}"#.into() };
    let mut asks = ChatMessage::text(ChatRole::Assistant, "");
    asks.tool_calls.push(call);
    let mut result = ChatMessage::text(ChatRole::Tool, "sunny");
    result.tool_call_id = Some("c1".into());
    vec![
        ChatMessage::text(ChatRole::System, "Be <brief>."),
        ChatMessage::text(ChatRole::User, " How is Oslo? "),
        asks,
        result,
    ]
}

fn weather() -> ToolSpec {
    let parameters = serde_json::from_str(
        r#"{"type": "object", "properties": {"city": {"type": "string"}}, "a": [1, true]}"#,
    );
    ToolSpec { name: "weather".into(), description: "It's <b>".into(), parameters: parameters.expect("JSON") }
}

fn render(template: &ChatTemplate, messages: &[ChatMessage], tools: &[ToolSpec]) -> Result<String, String> {
    template.render(&messages.iter().collect::<Vec<_>>(), tools)
}

#[test]
fn a_talk_with_tools_reads_as_transformers_writes_it() {
    let template = template(QWEN).expect("it compiles");
    assert_eq!(template.calls(), Some(CallForm::Tagged));
    let expected = "<|im_start|>system\nBe <brief>.\n<tools>\n\
        {\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"It's <b>\", \"parameters\": \
        {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"a\": [1, true]}}}\n\
        </tools><|im_end|>\n<|im_start|>user\nHow is Oslo?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n\
        {\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call><|im_end|>\n\
        <|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render(&template, &talk(), &[weather()]).as_deref(), Ok(expected));
    let plain = render(&template, &talk()[..2], &[]).expect("it renders");
    assert_eq!(
        plain,
        "<|im_start|>system\nBe <brief>.<|im_end|>\n<|im_start|>user\nHow is Oslo?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn python_and_its_functions_are_there() {
    let source = "{{ bos_token }}{% for m in messages %}{% generation %}{{ m['content'].split('<')[0].upper() }}\
        {% endgeneration %}{% if loop.index0 == 1 %}{% break %}{% endif %}{% endfor %}{{ strftime_now('%Y')|length }}\
        {{ unknown }}{{ {'b': [1], 'a': 'é<'} | tojson(indent=2) }}";
    let text = render(&template(source).expect("it compiles"), &talk(), &[]).expect("it renders");
    assert_eq!(text, "<s>BE  HOW IS OSLO? 4{\n  \"b\": [\n    1\n  ],\n  \"a\": \"é<\"\n}");
    let refusing =
        template("{{ raise_exception('System messages are not supported') }}").expect("it compiles");
    assert!(render(&refusing, &talk(), &[]).expect_err("it refuses").contains("not supported"));
}

#[test]
fn the_files_and_the_tool_template_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = OnnxLlmConfig { model: folder.path().to_owned(), ..OnnxLlmConfig::default() };
    let read =
        |settings: &Value| ChatTemplate::read(&Files { config: &config, device: Device::Cpu }, settings);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let both =
        |template: &ChatTemplate| [render(template, &talk(), &[]), render(template, &talk(), &[weather()])];
    let told = |texts: [&str; 2]| texts.map(|text| Ok(text.to_owned()));
    assert!(read(&json!({})).expect_err("none").to_string().contains("no chat template"));
    write("chat_template.json", r#"{ "chat_template": "processor" }"#);
    assert_eq!(both(&read(&json!({})).expect("it compiles")), told(["processor", "processor"]));
    let settings = json!({ "chat_template": [
        { "name": "default", "template": "plain" }, { "name": "tool_use", "template": "tools <tool_call>" } ] });
    assert_eq!(both(&read(&settings).expect("it compiles")), told(["plain", "tools <tool_call>"]));
    write("chat_template.jinja", "file");
    assert_eq!(both(&read(&settings).expect("it compiles")), told(["file", "file"]));
    write("additional_chat_templates/tool_use.jinja", "file of tools");
    assert_eq!(both(&read(&settings).expect("it compiles")), told(["file", "file of tools"]));
    assert!(template("{% if %}").is_err());
}

#[test]
fn each_family_s_form_of_calls_is_known_by_its_template() {
    let table = [
        ("{% if tools %}{% endif %}<tool_call>", Some(CallForm::Tagged)),
        (r#"{% if tools %}{"name": function name, "parameters": ..}{% endif %}"#, Some(CallForm::Bare)),
        ("{{ bos_token }}<start_of_turn>", None),
    ];
    for (source, expected) in table {
        assert_eq!(template(source).expect("it compiles").calls(), expected, "{source}");
    }
    assert!(template("<|assistant|><think>\n").expect("it compiles").opens_thought());
    assert!(!template("<think>\n\n</think>\n").expect("it compiles").opens_thought());
}

/// Gemma's rule: the user begins, and the roles take turns; Gemma 2's: there is no system message.
#[test]
fn a_conversation_that_a_template_refuses_is_arranged_anew() {
    let gemma = "{% for m in messages %}{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('no') }}{% endif %}{{ m.role[0] }}:{{ m.content }} {% endfor %}";
    let template = template(gemma).expect("it compiles");
    let say = |role, text: &str| ChatMessage::text(role, text);
    let talk = [
        say(ChatRole::System, "Be brief."),
        say(ChatRole::User, "Wait."),
        say(ChatRole::User, "Hello."),
        say(ChatRole::Assistant, "Hi."),
        say(ChatRole::User, "Who?"),
    ];
    let told = render(&template, &talk, &[]);
    assert_eq!(told.as_deref(), Ok("u:Be brief.\n\nWait.\nHello. a:Hi. u:Who? "));
}
