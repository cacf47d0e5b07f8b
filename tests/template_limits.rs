//! Templates that mean harm end in an error, soon, with little memory, and on any stack.

use std::time::{Duration, Instant};
use yareta::Error;
use yareta::template::{ChatTemplate, Message, RenderOptions};

/// Nests a list a hundred thousand deep.
const NEST: &str = "{% set ns = namespace(x=[], y=[]) %}{% for i in range(100000) %}\
    {% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}";

/// A list that holds the list before it twice, sixty times over.
const DOUBLE: &str = "{% set ns = namespace(x='aaaaaaaa', y='aaaaaaaa') %}{% for i in range(60) %}\
    {% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";

/// Two namespaces that hold themselves.
const CIRCLE: &str = "{% set a = namespace() %}{% set a.x = a %}\
    {% set b = namespace() %}{% set b.x = b %}";

fn refused(source: &str) {
    let start = Instant::now();
    let result = ChatTemplate::new("hostile", source)
        .and_then(|template| template.render(&[Message::user("Hi")], &RenderOptions::default()));
    let shown: String = source.chars().take(100).collect();
    match result {
        Err(Error::Template { template, .. }) => assert_eq!(template, "hostile"),
        other => panic!("{shown}: {:?}", other.map(|text| text.len())),
    }
    // a few tenths of a second, on a machine with nothing else to do
    assert!(start.elapsed() < Duration::from_secs(20), "{shown}");
}

#[test]
fn endless_work_runs_out_of_fuel() {
    for source in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(99999999999)|list }}",
    ] {
        refused(source);
    }
}

#[test]
fn large_values_are_not_made() {
    for source in [
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'a' * 99999999999 }}",
        "{{ 'a'.center(99999999999) }}",
        "{{ '{:99999999999}'.format(1) }}",
        "{{ '{:.99999999999f}'.format(1.0) }}",
        "{{ '{:{}}'.format(1, 99999999999) }}",
        "{{ '%99999999999d'|format(1) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '%.99999999999f' % 1.0 }}",
        "{{ '%*d' % (99999999999, 1) }}",
        "{% for i in range(99999) %}{{ '%9999s' % 1 }}{% endfor %}",
        "{% set x = 'a' * 100000 %}{{ x.replace('a', x) }}",
        "{% set x = 'a' * 100000 %}{{ x|replace('a', x) }}",
        "{% set x = 'a' * 100000 %}{{ x.replace('', x) }}",
        "{% set x = 'a' * 100000 %}{{ x.join(x|list) }}",
        "{{ ('a\n' * 100000)|indent(99999999) }}",
    ] {
        refused(source);
    }
}

#[test]
fn deep_and_doubled_values_are_refused() {
    for values in [NEST, DOUBLE, CIRCLE] {
        for use_them in [
            "",
            "{{ ns.x }}{{ a }}",
            "{{ ns.x ~ '' }}{{ a ~ '' }}",
            "{{ ns.x|tojson }}{{ a|tojson }}",
            "{{ ns.x == ns.y }}{{ a == b }}",
            "{{ ns.x in [ns.y] }}{{ a in [b] }}",
            "{{ [ns.x, ns.y]|sort }}{{ [a, b]|sort }}",
            "{{ {ns.x: 1} }}{{ {a: 1} }}",
            "{{ ns.x|join('') }}",
        ] {
            refused(&format!("{values}{use_them}"));
        }
    }
}

#[test]
fn deep_sources_are_refused_or_parsed() {
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", "|upper".repeat(100_000)),
        format!("{{{{ x{} }}}}", "%1".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(50_000)),
        format!("{{% if x %}}{}{{% endif %}}", "{% elif y %}".repeat(50_000)),
        "{% if x %}".repeat(50_000),
        "a".repeat((1 << 20) + 1),
    ] {
        refused(&source);
    }
    // as long as is allowed
    for (source, expected) in [
        (format!("{{{{ 1{} }}}}", "+1".repeat(1990)), "1991"),
        (format!("{{{{ {}1 }}}}", "--".repeat(1990)), "1"),
        (format!("{{{{ 'a'{} }}}}", "|upper".repeat(1990)), "A"),
        (
            format!("{{% if x %}}{}{{% endif %}}b", "{% elif x %}".repeat(990)),
            "b",
        ),
    ] {
        let template = ChatTemplate::new("long", source).unwrap();
        assert_eq!(
            template.render(&[], &RenderOptions::default()).unwrap(),
            expected
        );
    }
}

#[test]
fn nothing_outside_is_in_reach() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{% extends 'chat_template' %}",
        "{{ messages.__class__.__mro__ }}",
        "{{ self.environment.x }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ debug() }}",
    ] {
        refused(source);
    }
}

#[test]
fn any_bytes_are_a_template_or_an_error() {
    // pieces of syntax in a random order: whatever comes out, it is no panic
    let pieces = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        "+",
        " for x in ",
        " if ",
        " set x = ",
        " endfor ",
        " endif ",
        "'",
        "\"",
        "(",
        ")",
        "[",
        "]",
        "|",
        "safe",
        ".a",
        "é",
        "\n",
        " % ",
        " * ",
        " is ",
        " generation ",
        " raw ",
        " endraw ",
        " else ",
        "x",
        "1",
        "~",
        ",",
        "messages",
        ":",
        "\\",
    ];
    let mut state = 7u32;
    for _ in 0..3000 {
        let mut source = String::new();
        for _ in 0..state % 23 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            source.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if let Ok(template) = ChatTemplate::new("random", source) {
            let _ = template.render(&[Message::user("Hi")], &RenderOptions::default());
        }
    }
}
