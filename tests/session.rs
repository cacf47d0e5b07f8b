//! Sessions: forks, truncation, saved state, limits, cancelling, and models shared by threads.

mod common;

use std::fmt::Debug;

use common::{Random, TinyLlama};
use yareta::gguf::TensorType;
use yareta::template::ChatTemplate;
use yareta::{
    CancelToken, Chat, End, Error, FeedOptions, Format, Generation, Gguf, KvType, MemoryPlan,
    Model, ModelOptions, PerplexityOptions, QuantizeOptions, Reply, Sampler, Session,
    SessionOptions, StopStrings, StreamDecoder, Threads, Tokenizer, quantize,
};

fn model() -> Model {
    Model::from_bytes(TinyLlama::default().bytes()).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    let mut random = Random(11);
    let vocabulary = common::vocabulary().len() as u64;
    (0..count)
        .map(|_| random.below(vocabulary) as u32)
        .collect()
}

#[test]
fn types_go_between_threads_and_show_themselves() {
    fn shared<T: Send + Sync + Debug + 'static>() {}
    fn sent<T: Send + Debug>() {}
    fn cloned<T: Clone>() {}
    shared::<Model>();
    shared::<Session>();
    shared::<Sampler>();
    shared::<Tokenizer>();
    shared::<Chat>();
    shared::<ChatTemplate>();
    shared::<Gguf>();
    shared::<Threads>();
    shared::<CancelToken>();
    shared::<SessionOptions>();
    shared::<MemoryPlan>();
    shared::<StreamDecoder>();
    shared::<StopStrings>();
    shared::<Error>();
    sent::<Generation<'static>>();
    sent::<Reply<'static>>();
    cloned::<Model>();
    cloned::<Sampler>();
    cloned::<Tokenizer>();
    cloned::<ChatTemplate>();
    cloned::<Gguf>();
    cloned::<Threads>();
    cloned::<SessionOptions>();
    // In a log nobody wants the weights, the cache or the whole vocabulary.
    let shown = |value: &dyn Debug| {
        let text = format!("{value:?}");
        assert!((1..2000).contains(&text.len()), "{}", &text[..200]);
    };
    shown(&ModelOptions::new());
    shown(&FeedOptions::new());
    shown(&PerplexityOptions::new());
    shown(&QuantizeOptions::new(Format::Q8_0));
    let model = model();
    let mut session = model.session().unwrap();
    session.feed(&tokens(20)).unwrap();
    let mut sampler = Sampler::new(1);
    sampler.sample(session.logits().unwrap()).unwrap();
    shown(&model);
    shown(&session);
    shown(&sampler);
    shown(model.gguf());
    shown(model.tokenizer());
    shown(model.threads());
    shown(&session.generate(&[], &mut sampler));
    let template = ChatTemplate::new("long", "a".repeat(10_000)).unwrap();
    shown(&template);
    shown(&Chat::with_template(session, template));
}

/// A session with threads of its own neither waits for those of the model nor computes anything
/// else.
#[test]
fn sessions_may_have_threads_of_their_own() {
    let model = model();
    let text = tokens(20);
    let expected = model.session().unwrap().feed(&text).unwrap().to_vec();
    for count in [1, 3] {
        let options = SessionOptions::new().threads(Threads::new(count).unwrap());
        let mut session = model.session_with(&options).unwrap();
        assert_eq!(session.feed(&text).unwrap(), expected);
        let mut fork = session.fork().unwrap();
        assert_eq!(fork.logits().unwrap(), expected);
        assert_eq!(fork.feed(&[1]).unwrap(), session.feed(&[1]).unwrap());
        let scratch = model.plan(&options).unwrap().scratch;
        let of_one = SessionOptions::new().threads(Threads::new(1).unwrap());
        assert!(scratch >= model.plan(&of_one).unwrap().scratch);
    }
}

#[test]
fn a_session_knows_its_tokens() {
    let mut session = model().session().unwrap();
    assert_eq!((session.position(), session.context()), (0, 128));
    assert!(session.logits().is_none());
    let fed = tokens(9);
    let logits = session.feed(&fed).unwrap().to_vec();
    assert_eq!(logits.len(), session.model().vocabulary());
    assert_eq!(session.logits(), Some(&logits[..]));
    assert_eq!(session.tokens(), fed);
    session.truncate(20);
    assert_eq!(session.position(), 9);
    session.truncate(8);
    assert!(session.logits().is_none());
    assert_eq!(session.tokens(), &fed[..8]);
    assert_eq!(session.feed(&fed[8..]).unwrap(), logits);
}

#[test]
fn truncation_forgets_entirely() {
    let (a, b) = (tokens(30), tokens(50));
    let mut fresh = model().session().unwrap();
    fresh.feed(&a[..10]).unwrap();
    let expected = fresh.feed(&b[30..]).unwrap().to_vec();
    let mut session = model().session().unwrap();
    session.feed(&a).unwrap();
    session.truncate(10);
    assert_eq!(session.feed(&b[30..]).unwrap(), expected);
}

#[test]
fn a_fork_goes_its_own_way() {
    let mut session = model().session().unwrap();
    let text = tokens(40);
    session.feed(&text[..20]).unwrap();
    let mut fork = session.fork().unwrap();
    assert_eq!(fork.tokens(), session.tokens());
    assert_eq!(fork.logits(), session.logits());
    let here = session.feed(&text[20..30]).unwrap().to_vec();
    assert_eq!(fork.feed(&text[20..30]).unwrap(), here);
    fork.feed(&text[30..]).unwrap();
    session.feed(&text[30..35]).unwrap();
    assert_eq!((session.position(), fork.position()), (35, 40));
}

#[test]
fn a_saved_session_comes_back() {
    let model = model();
    let mut session = model.session().unwrap();
    let text = tokens(33);
    session.feed(&text[..21]).unwrap();
    let bytes = session.save().unwrap();
    let expected = session.feed(&text[21..]).unwrap().to_vec();

    let options = SessionOptions::new().context(33).batch(3);
    let mut other = model.session_with(&options).unwrap();
    other.feed(&text[..2]).unwrap();
    other.restore(&bytes).unwrap();
    assert_eq!(other.tokens(), &text[..21]);
    assert!(other.logits().is_none());
    assert_eq!(other.feed(&text[21..]).unwrap(), expected);

    let empty = model.session().unwrap().save().unwrap();
    other.restore(&empty).unwrap();
    assert_eq!(other.position(), 0);
}

#[test]
fn a_cache_of_bytes_does_what_the_other_does() {
    let tiny = TinyLlama {
        dim: 128,
        context: 400,
        ..TinyLlama::default()
    };
    let model = Model::from_bytes(tiny.bytes()).unwrap();
    let options = SessionOptions::new().kv(KvType::Q8_0);
    let text = tokens(390);
    let mut whole = model.session_with(&options).unwrap();
    let expected = whole.feed(&text).unwrap().to_vec();

    let mut session = model.session_with(&options.clone().batch(7)).unwrap();
    session.feed(&text[..301]).unwrap();
    session.feed(&text[5..17]).unwrap();
    session.truncate(301);
    let bytes = session.save().unwrap();
    let mut fork = session.fork().unwrap();
    for token in &text[301..] {
        session.feed(&[*token]).unwrap();
    }
    assert_eq!(session.logits(), Some(&expected[..]));
    assert_eq!(fork.feed(&text[301..]).unwrap(), expected);
    let small = options.clone().context(391);
    let mut other = model.session_with(&small).unwrap();
    other.restore(&bytes).unwrap();
    assert_eq!(other.feed(&text[301..]).unwrap(), expected);

    let mut halves = model.session().unwrap();
    assert!(matches!(
        halves.restore(&bytes),
        Err(Error::SavedState { .. })
    ));
    let plan = |kind| model.plan(&options.clone().kv(kind)).unwrap();
    assert!(plan(KvType::Q8_0).cache < plan(KvType::F16).cache);
}

#[test]
fn a_cache_of_bytes_needs_heads_of_whole_blocks() {
    let options = SessionOptions::new().kv(KvType::Q8_0);
    let error = model().session_with(&options).unwrap_err();
    let reason = "needs keys of a multiple of 32 elements, found 16";
    assert!(error.to_string().contains(reason), "{error}");
    assert!(matches!(error, Error::InvalidOption { option: "kv", .. }));
}

#[test]
fn broken_saved_sessions_are_refused_and_change_nothing() {
    let model = model();
    let mut session = model.session().unwrap();
    let text = tokens(5);
    let before = session.feed(&text).unwrap().to_vec();
    let bytes = session.save().unwrap();
    let mut refuse = |bytes: &[u8]| {
        let error = session.restore(bytes).unwrap_err();
        assert!(matches!(error, Error::SavedState { .. }), "{error}");
        assert_eq!(session.tokens(), text);
        assert_eq!(session.logits(), Some(&before[..]));
    };
    for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        refuse(&bytes[..length]);
    }
    // Magic, version, fingerprint, type, count, a token.
    for position in [0, 8, 12, 20, 24, 27, 30] {
        let mut changed = bytes.clone();
        changed[position] ^= 0x40;
        refuse(&changed);
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    refuse(&longer);
    let other = TinyLlama {
        seed: 2,
        ..TinyLlama::default()
    };
    let mut other = Model::from_bytes(other.bytes()).unwrap().session().unwrap();
    assert!(matches!(
        other.restore(&bytes),
        Err(Error::SavedState { .. })
    ));
    let small = SessionOptions::new().context(4);
    let mut small = model.session_with(&small).unwrap();
    assert!(matches!(
        small.restore(&bytes),
        Err(Error::ContextFull {
            needed: 5,
            limit: 4
        })
    ));
}

#[test]
fn what_cannot_be_fed_changes_nothing() {
    let model = model();
    let options = SessionOptions::new().context(10);
    let mut session = model.session_with(&options).unwrap();
    let text = tokens(11);
    assert!(matches!(
        session.feed(&[]),
        Err(Error::InvalidOption { .. })
    ));
    assert!(matches!(
        session.feed(&text),
        Err(Error::ContextFull {
            needed: 11,
            limit: 10
        })
    ));
    let logits = session.feed(&text[..8]).unwrap().to_vec();
    assert!(matches!(
        session.feed(&text[8..]),
        Err(Error::ContextFull {
            needed: 11,
            limit: 10
        })
    ));
    let beyond = model.vocabulary() as u32;
    assert!(matches!(
        session.feed(&[0, beyond]),
        Err(Error::Token { token, vocabulary }) if token == beyond && vocabulary == beyond as usize
    ));
    assert_eq!(session.position(), 8);
    assert_eq!(session.logits(), Some(&logits[..]));
    session.feed(&text[8..10]).unwrap();
}

#[test]
fn options_are_checked() {
    let model = model();
    let huge = usize::MAX;
    for options in [
        SessionOptions::new().context(0),
        SessionOptions::new().batch(0),
        SessionOptions::new().context(huge),
    ] {
        assert!(matches!(
            model.plan(&options),
            Err(Error::InvalidOption { .. })
        ));
        assert!(matches!(
            model.session_with(&options),
            Err(Error::InvalidOption { .. })
        ));
    }
    // Nearly 2^32 positions of a tiny model are a terabyte of cache, which is counted before it is
    // asked for. Systems that promise any amount of memory until it is used may grant it.
    let large = SessionOptions::new().context((u32::MAX - 15) as usize);
    let plan = model.plan(&large).unwrap();
    // Of two layers with two heads, tiles of sixteen keys and chunks of 256 values, each with its
    // scales; keys and values of each layer begin on a cache line.
    let (tiles, chunks) = ((1 << 28) - 1, 1 << 24);
    let units = 2 * (tiles * (32 + 16 * 16) + chunks * (256 + 16 * 256));
    assert_eq!(plan.cache, 2 * (2 * units + 2 * 64));
    assert_eq!(plan.cache_per_position, 2 * 2 * 2 * (2 * 16 + 2));
    let all = large.batch(u32::MAX as usize);
    assert!(matches!(
        model.session_with(&all),
        Ok(_) | Err(Error::Memory { .. })
    ));
    assert_eq!(plan.weights, model.gguf().file_len());
    let small = model.plan(&SessionOptions::new().batch(1)).unwrap();
    let default = model.plan(&SessionOptions::new()).unwrap();
    assert!(small.scratch < default.scratch);
    assert_eq!(default.session(), default.cache + default.scratch);
}

#[test]
fn feeding_can_be_watched_and_cancelled() {
    let model = model();
    let options = SessionOptions::new().batch(8);
    let mut session = model.session_with(&options).unwrap();
    let text = tokens(30);
    session.feed(&text[..3]).unwrap();
    let mut seen = Vec::new();
    let mut watch = |done: usize, total: usize| seen.push((done, total));
    session
        .feed_with(&text[3..], FeedOptions::new().progress(&mut watch))
        .unwrap();
    assert_eq!(seen, [(8, 27), (16, 27), (24, 27), (27, 27)]);
    let expected = session.logits().unwrap().to_vec();

    session.truncate(3);
    let cancel = CancelToken::new();
    let mut watch = |done: usize, _: usize| {
        if done == 16 {
            cancel.cancel();
        }
    };
    let options = FeedOptions::new().progress(&mut watch).cancel(&cancel);
    let error = session.feed_with(&text[3..], options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert_eq!(session.tokens(), &text[..3]);
    assert!(session.logits().is_none());
    cancel.reset();
    let again = session.feed_with(&text[3..], FeedOptions::new().cancel(&cancel));
    assert_eq!(again.unwrap(), expected);
}

#[test]
fn opening_can_be_watched_and_cancelled() {
    let gguf = Gguf::from_bytes(TinyLlama::default().bytes()).unwrap();
    let mut seen = Vec::new();
    let mut watch = |done: usize, total: usize| seen.push((done, total));
    let options = ModelOptions::new().progress(&mut watch);
    Model::from_gguf_with(gguf.clone(), options).unwrap();
    assert_eq!(seen, [(1, 2), (2, 2)]);
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = ModelOptions::new().cancel(&cancel);
    let error = Model::from_gguf_with(gguf, options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
}

#[test]
fn huge_pages_change_no_result() {
    let bytes = TinyLlama::default().bytes();
    let file = std::env::temp_dir().join(format!("yareta-huge-{}.gguf", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    let logits = |ask: bool| {
        let options = ModelOptions::new().huge_pages(ask);
        let model = Model::open_with(&file, options).unwrap();
        model.session().unwrap().feed_all(&tokens(40)).unwrap()
    };
    let (asked, not) = (logits(true), logits(false));
    std::fs::remove_file(&file).unwrap();
    assert!(asked == not);
}

#[test]
fn sessions_on_threads_share_a_model() {
    let gguf = Gguf::from_bytes(TinyLlama::default().bytes()).unwrap();
    let options = ModelOptions::new().threads(Threads::new(3).unwrap());
    let model = Model::from_gguf_with(gguf, options).unwrap();
    let text = tokens(60);
    let expected = model.session().unwrap().feed_all(&text).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (model, text, expected) = (model.clone(), &text, &expected);
            scope.spawn(move || {
                for piece in [1, 7, 60] {
                    let mut session = model.session().unwrap();
                    let mut logits = Vec::new();
                    for piece in text.chunks(piece) {
                        logits.extend(session.feed_all(piece).unwrap());
                    }
                    assert!(logits == *expected);
                }
            });
        }
    });
}

#[test]
fn generation_stops_where_it_should() {
    let model = model();
    let mut session = model.session().unwrap();
    let prompt = tokens(4);
    let mut sampler = Sampler::new(3);
    let mut generation = session.generate(&prompt, &mut sampler).max_tokens(20);
    let pieces: Result<String, Error> = generation.by_ref().collect();
    let (end, generated) = (generation.end(), generation.tokens().to_vec());
    pieces.unwrap();
    // A model of random weights may choose the end of the text earlier.
    match end {
        Some(End::MaxTokens) => assert_eq!(generated.len(), 20),
        Some(End::Token) => assert_eq!(generated.last(), Some(&2)),
        other => panic!("{other:?}"),
    }
    let fed: Vec<u32> = prompt
        .iter()
        .chain(&generated[..generated.len() - 1])
        .copied()
        .collect();
    assert_eq!(session.tokens(), fed);

    // The token that ends texts, made certain, ends generation with no text.
    let mut certain = Sampler::greedy().logit_bias(2, 1e9);
    let mut generation = session.generate(&[5], &mut certain);
    assert!(generation.next().is_none());
    assert_eq!(
        (generation.end(), generation.tokens()),
        (Some(End::Token), &[2][..])
    );

    // A token that is only text goes on until the context is full, which is an error.
    let letter = model.tokenizer().token_to_id("e").unwrap();
    let mut endless = Sampler::greedy().logit_bias(letter, 1e9);
    let options = SessionOptions::new().context(10);
    let mut session = model.session_with(&options).unwrap();
    let mut generation = session.generate(&prompt, &mut endless);
    let mut text = String::new();
    let error = loop {
        match generation.next() {
            Some(Ok(piece)) => text.push_str(&piece),
            Some(Err(error)) => break error,
            None => panic!("the context never filled"),
        }
    };
    assert!(
        matches!(
            error,
            Error::ContextFull {
                needed: 11,
                limit: 10
            }
        ),
        "{error}"
    );
    assert_eq!(text, "e".repeat(7));
    assert!(generation.next().is_none());
    assert_eq!(generation.end(), Some(End::Error));

    // Without prompt, and without anything seen, there is nothing to go on from.
    let mut fresh = model.session().unwrap();
    let first = fresh.generate(&[], &mut endless).next().unwrap();
    assert!(matches!(first, Err(Error::InvalidOption { .. })));
    fresh.feed(&prompt).unwrap();
    assert_eq!(
        fresh.generate(&[], &mut endless).next().unwrap().unwrap(),
        "e"
    );
}

#[test]
fn pieces_never_split_a_character() {
    let model = model();
    // The bytes of a character of three bytes, one token each.
    let bytes: Vec<u32> = "€"
        .bytes()
        .map(|byte| {
            model
                .tokenizer()
                .token_to_id(&format!("<0x{byte:02X}>"))
                .unwrap()
        })
        .collect();
    let mut session = model.session().unwrap();
    let mut decoder = model.tokenizer().decoder();
    assert_eq!(decoder.push(bytes[0]).unwrap(), "");
    // Generation of only the first byte leaves an incomplete character at the end.
    let mut sampler = Sampler::greedy().logit_bias(bytes[0], 1e9);
    let generation = session.generate(&[5], &mut sampler).max_tokens(1);
    let pieces: Vec<String> = generation.map(Result::unwrap).collect();
    assert_eq!(pieces, ["\u{fffd}"]);
}

#[test]
fn quantizing_can_be_cancelled() {
    let gguf = Gguf::from_bytes(TinyLlama::wide(TensorType::F32).bytes()).unwrap();
    let cancel = CancelToken::new();
    let mut seen = 0;
    let mut progress = |done, _| {
        seen = done;
        if done == 3 {
            cancel.cancel();
        }
    };
    let options = QuantizeOptions::new(Format::Q8_0)
        .progress(&mut progress)
        .cancel(&cancel);
    let result = quantize(&gguf, options, Vec::new());
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(seen, 3);
}

#[test]
fn quantized_files_are_models_and_always_the_same() {
    let gguf = Gguf::from_bytes(TinyLlama::wide(TensorType::F32).bytes()).unwrap();
    for format in [
        yareta::Format::Q8_0,
        yareta::Format::Q4_K,
        yareta::Format::F16,
    ] {
        let once = yareta::quantize(&gguf, QuantizeOptions::new(format), Vec::new()).unwrap();
        let options = QuantizeOptions::new(format).threads(Threads::new(3).unwrap());
        let again = yareta::quantize(&gguf, options, Vec::new()).unwrap();
        assert!(once == again);
        let model = Model::from_bytes(once).unwrap();
        let kind = |name: &str| model.gguf().tensor(name).unwrap().tensor_type();
        assert_eq!(kind("blk.0.ffn_down.weight"), format.into());
        assert_eq!(kind("output_norm.weight"), TensorType::F32);
        model.session().unwrap().feed(&tokens(3)).unwrap();
    }
    let narrow = Gguf::from_bytes(TinyLlama::default().bytes()).unwrap();
    let options = QuantizeOptions::new(yareta::Format::Q4_K);
    let error = yareta::quantize(&narrow, options, Vec::new()).unwrap_err();
    assert!(matches!(error, Error::TensorType { .. }), "{error}");
}
