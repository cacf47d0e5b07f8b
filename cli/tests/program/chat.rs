//! `yareta chat` where what it reads is no terminal.

use crate::common::{Temporary, yareta_reading};

/// A chat template that makes a conversation a text, so that the embedded model has something to
/// go on from.
const TEMPLATE: &str = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}";

#[test]
fn stories_go_on_from_each_line() {
    let lines = "Once upon a time\n\nTom had a red ball\n";
    let ran = yareta_reading(&["chat", "-s", "3", "-n", "30"], lines).ok();
    let stories: Vec<&str> = ran.out.lines().collect();
    assert!(ran.out.starts_with("Once upon a time"), "{ran:?}");
    assert!(
        stories
            .iter()
            .any(|line| line.starts_with("Tom had a red ball")),
        "{ran:?}"
    );
    let only_limits = |line: &str| line == "[stopped at the limit of tokens: -n gives more]";
    assert!(ran.err.lines().all(only_limits), "{ran:?}");
    let again = yareta_reading(&["chat", "-s", "3", "-n", "30"], lines).ok();
    assert_eq!(again.out, ran.out);
}

#[test]
fn a_message_on_the_command_line_is_answered() {
    let args = ["chat", "-s", "3", "-n", "30", "Tom had a red ball"];
    let ran = yareta_reading(&args, "Not read\n").ok();
    assert!(ran.out.starts_with("Tom had a red ball"), "{ran:?}");
    assert!(!ran.out.contains("Not read"), "{ran:?}");
}

#[test]
fn stories_are_saved_and_gone_on_from() {
    let file = Temporary::path("stories.txt");
    let lines = format!(
        "/system Be brief.\nOnce upon a time\n/save {}\n",
        file.as_str()
    );
    let ran = yareta_reading(&["chat", "-s", "3", "-n", "20"], &lines).ok();
    assert!(ran.err.contains("takes no instructions"), "{ran:?}");
    let saved = std::fs::read_to_string(file.as_str()).unwrap();
    assert_eq!(saved.trim_end(), ran.out.trim_end());
    let lines = format!("/load {}\n/quit\nNot read any more\n", file.as_str());
    let loaded = yareta_reading(&["chat", "-s", "4", "-n", "20"], &lines).ok();
    assert!(loaded.out.starts_with(saved.trim_end()), "{loaded:?}");
    assert!(!loaded.out.contains("Not read"), "{loaded:?}");
    yareta_reading(&["chat"], &format!("/save {}\n", file.as_str())).fails(1, "already exists");
}

#[test]
fn conversations_have_instructions_figures_and_files() {
    let template = Temporary::file("template.jinja", TEMPLATE.as_bytes());
    let file = Temporary::path("conversation.json");
    let chat = |lines: &str| {
        let args = [
            "chat",
            "--template",
            template.as_str(),
            "-s",
            "3",
            "-n",
            "20",
        ];
        yareta_reading(&args, lines)
    };
    let lines = format!(
        "/system Tom is a boy.\nTom had a ball.\n/figures on\nWhat did he do?\n/save {}\n",
        file.as_str()
    );
    let first = chat(&lines).ok();
    let figures = first.err.lines().filter(|line| line.contains("tokens/s"));
    assert_eq!(figures.count(), 1, "{first:?}");
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file.as_str()).unwrap()).unwrap();
    let messages = saved["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(messages[0]["content"], "Tom is a boy.");
    for answer in [&messages[2], &messages[4]] {
        let answer = answer["content"].as_str().unwrap();
        assert!(first.out.contains(answer.trim()), "{answer} in {first:?}");
    }

    // What was said is there again, and goes on.
    let lines = format!(
        "/load {0}\nAnd then?\n/save {0}\n/reset\n/save {0}\n",
        file.as_str()
    );
    let second = chat(&lines).ok();
    assert!(second.err.contains(": 7 messages"), "{second:?}");
    assert!(second.err.contains(": 1 messages"), "{second:?}");

    let other = Temporary::file("other.json", b"{\"precious\": 1}");
    chat(&format!("/load {}\n", other.as_str())).fails(1, "no saved conversation");
    chat(&format!("/save {}\n", other.as_str())).fails(1, "is no saved conversation");
    assert_eq!(std::fs::read(other.as_str()).unwrap(), b"{\"precious\": 1}");
}

#[test]
fn what_is_wrong_is_one_sentence() {
    yareta_reading(&["chat"], "/dance\n").fails(1, "no command /dance");
    yareta_reading(&["chat"], "/load /no/such/file\n").fails(1, "/no/such/file");
    yareta_reading(&["chat", "--system", "Be brief."], "").fails(2, "no chat template");
    yareta_reading(&["chat", "--template", "/no/such/template"], "").fails(1, "/no/such/template");
    let template = Temporary::file("full.jinja", TEMPLATE.as_bytes());
    let args = ["chat", "--template", template.as_str(), "-c", "8"];
    let lines = "This line has more words than fit the context of eight tokens.\n";
    yareta_reading(&args, lines).fails(1, "/reset begins a new conversation");
    let broken = Temporary::file("broken.jinja", b"{% for %}");
    yareta_reading(&["chat", "--template", broken.as_str()], "a\n").fails(1, "broken.jinja");
    assert_eq!(yareta_reading(&["chat"], "").ok().out, "");
    assert!(
        yareta_reading(&["chat"], "/help\n")
            .ok()
            .err
            .contains("/figures")
    );
}
