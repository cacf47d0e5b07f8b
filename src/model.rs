//! A model: a mapped file, its numbers and its bound tensors. Immutable once opened.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use yareta_kernels::{Cpu, Isa};

use crate::cache::Cache;
use crate::config::Config;
use crate::forward::{Parts, Scratch};
use crate::session::{Session, SessionOptions};
use crate::weights::Weights;
use crate::{CancelToken, Error, Gguf, Result, Threads, Tokenizer};

/// A language model in a GGUF file. Clones are cheap and share everything; any number of sessions
/// on any threads can run on one model at the same time.
///
/// ```no_run
/// let model = yareta::Model::open("model.gguf")?;
/// println!("{} with {} weights", model.architecture(), model.parameters());
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    gguf: Gguf,
    config: Config,
    weights: Weights,
    frequencies: Vec<f64>, // (pairs of the rope)
    tokenizer: Tokenizer,
    cpu: Cpu,
    threads: Threads,
    huge_pages: bool,
    fingerprint: OnceLock<u64>,
}

/// How to open a model.
#[derive(Default)]
pub struct ModelOptions<'a> {
    threads: Option<Threads>,
    isa: Option<Isa>,
    huge_pages: bool,
    progress: Option<&'a mut dyn FnMut(usize, usize)>,
    cancel: Option<&'a CancelToken>,
}

impl fmt::Debug for ModelOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelOptions")
            .field("threads", &self.threads)
            .field("isa", &self.isa)
            .field("huge_pages", &self.huge_pages)
            .finish_non_exhaustive()
    }
}

impl<'a> ModelOptions<'a> {
    /// The defaults: one thread for each performance core, the best instruction set.
    pub fn new() -> ModelOptions<'a> {
        ModelOptions::default()
    }

    /// The threads to compute with. Default: [`Threads::physical`].
    pub fn threads(mut self, threads: Threads) -> ModelOptions<'a> {
        self.threads = Some(threads);
        self
    }

    /// The instruction set to compute with. Default: the best that this CPU has.
    pub fn isa(mut self, isa: Isa) -> ModelOptions<'a> {
        self.isa = Some(isa);
        self
    }

    /// Asks the system to hold in huge pages, where it has them, what it reads of the file from now on,
    /// and the caches and scratch of sessions: one entry of the processor's page tables then covers two
    /// megabytes. Sessions take their memory in pieces as large, so that a short context may take as
    /// much as a full one. It does not change results. Default: what the system does by itself, which
    /// for a file that Linux has read in order is huge pages already.
    pub fn huge_pages(mut self, ask: bool) -> ModelOptions<'a> {
        self.huge_pages = ask;
        self
    }

    /// Is called with the number of layers that are ready and that there are.
    pub fn progress(mut self, progress: &'a mut dyn FnMut(usize, usize)) -> ModelOptions<'a> {
        self.progress = Some(progress);
        self
    }

    /// Ends opening with [`Error::Cancelled`] when set.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> ModelOptions<'a> {
        self.cancel = Some(cancel);
        self
    }
}

/// The bytes that running a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The file, mapped: shared between all sessions and processes that have it open, and given
    /// back by the system where memory is short.
    pub weights: u64,
    /// Keys and values of a session with a full context. The system gives them as they fill.
    pub cache: u64,
    /// Keys and values of one position, without what a cache takes to begin and end on whole
    /// blocks: a token reads as many bytes for each position that it sees.
    pub cache_per_position: u64,
    /// Buffers of a session.
    pub scratch: u64,
}

impl MemoryPlan {
    /// What a session takes for itself: cache and scratch.
    pub fn session(&self) -> u64 {
        self.cache.saturating_add(self.scratch)
    }
}

impl Model {
    /// Opens the model in a file, or in the files of a split model of which this is the first.
    /// The file is mapped, not read: this takes milliseconds for a file of any size.
    ///
    /// # Errors
    /// Those of [`Gguf::open`]; [`Error::Architecture`] for an architecture that is not
    /// supported; [`Error::MissingKey`], [`Error::KeyType`] or [`Error::KeyValue`] naming a key,
    /// [`Error::MissingTensor`], [`Error::LayersDiffer`], [`Error::TensorShape`],
    /// [`Error::TensorType`] or [`Error::UnknownTensor`] naming a tensor, where a model cannot be
    /// made of the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(path, ModelOptions::new())
    }

    /// As [`Model::open`], with options.
    ///
    /// # Errors
    /// As [`Model::open`]; also [`Error::InvalidOption`] and [`Error::Cancelled`].
    pub fn open_with(path: impl AsRef<Path>, options: ModelOptions<'_>) -> Result<Model> {
        Model::from_gguf_with(Gguf::open(path)?, options)
    }

    /// The model in a file that is in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Model> {
        Model::from_gguf(Gguf::from_bytes(bytes)?)
    }

    /// The model in a file that is part of the program, such as by `include_bytes!`.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_static(bytes: &'static [u8]) -> Result<Model> {
        Model::from_gguf(Gguf::from_static(bytes)?)
    }

    /// The model in an open file.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_gguf(gguf: Gguf) -> Result<Model> {
        Model::from_gguf_with(gguf, ModelOptions::new())
    }

    /// As [`Model::from_gguf`], with options.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_gguf_with(gguf: Gguf, mut options: ModelOptions<'_>) -> Result<Model> {
        let cpu = match options.isa {
            None => Cpu::detect(),
            Some(isa) => Cpu::with(isa).ok_or_else(|| Error::InvalidOption {
                option: "isa",
                reason: format!("this CPU does not have {isa}"),
            })?,
        };
        if options.huge_pages {
            gguf.ask_for_huge_pages();
        }
        let config = Config::read(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let weights = Weights::bind(&gguf, &config, |layers| {
            if options.cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            if let Some(progress) = &mut options.progress {
                progress(layers, config.layers);
            }
            Ok(())
        })?;
        let threads = match options.threads {
            Some(threads) => threads,
            None => Threads::physical()?,
        };
        let frequencies = config.rope.frequencies(weights.rope_factors.as_deref());
        Ok(Model(Arc::new(Inner {
            gguf,
            config,
            weights,
            frequencies,
            tokenizer,
            cpu,
            threads,
            huge_pages: options.huge_pages,
            fingerprint: OnceLock::new(),
        })))
    }

    /// A session with the default options: a context of 4096 tokens, or what the model was
    /// trained on if that is less.
    ///
    /// # Errors
    /// [`Error::Memory`] if cache and scratch cannot be had.
    pub fn session(&self) -> Result<Session> {
        self.session_with(&SessionOptions::new())
    }

    /// A session.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option that cannot be, [`Error::Memory`] if cache and
    /// scratch cannot be had.
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session> {
        Session::new(self, options)
    }

    /// What a session with these options will take, without taking it.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option that cannot be, [`Error::Memory`] if the bytes are
    /// more than can be addressed.
    pub fn plan(&self, options: &SessionOptions) -> Result<MemoryPlan> {
        let config = self.config();
        let (context, batch) = options.resolve(config)?;
        let shape = Cache::shape(config, options.kv_type(), context);
        let overflow = |what| Error::Memory {
            what,
            bytes: u64::MAX,
        };
        let threads = options.threads_on(self).count();
        Ok(MemoryPlan {
            weights: self.0.gguf.file_len(),
            cache: Cache::bytes(config, &shape).ok_or(overflow("the cache of a session"))?,
            cache_per_position: config.layers as u64 * shape.position_bytes() as u64,
            scratch: Scratch::bytes(self.0.cpu, config, threads, (batch, &shape))
                .ok_or(overflow("the scratch of a session"))?,
        })
    }

    /// The file: its metadata and tensors.
    pub fn gguf(&self) -> &Gguf {
        &self.0.gguf
    }

    /// What turns text into its tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// The name of the architecture: `llama`, `qwen2`, ….
    pub fn architecture(&self) -> &'static str {
        self.config().architecture.name
    }

    /// Number of tokens in the vocabulary: the length of logits.
    pub fn vocabulary(&self) -> usize {
        self.config().vocabulary
    }

    /// Tokens of context that the model was trained on.
    pub fn context(&self) -> usize {
        self.config().context
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.config().layers
    }

    /// Length of the vector that goes from layer to layer.
    pub fn width(&self) -> usize {
        self.config().width
    }

    /// Number of weights in the file.
    pub fn parameters(&self) -> u64 {
        let tensors = self.0.gguf.tensors().iter();
        tensors.fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements()))
    }

    /// The threads that its sessions compute with, unless they have their own.
    pub fn threads(&self) -> &Threads {
        &self.0.threads
    }

    /// The instruction set that its sessions compute with.
    pub fn isa(&self) -> Isa {
        self.0.cpu.isa()
    }

    /// Whether the system is asked to hold the memory of sessions in huge pages.
    pub(crate) fn huge_pages(&self) -> bool {
        self.0.huge_pages
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            cpu: self.0.cpu,
            gguf: &self.0.gguf,
            config: &self.0.config,
            weights: &self.0.weights,
            frequencies: &self.0.frequencies,
        }
    }

    /// A number that tells models apart: of tensors' names, types and shapes, and of some of the
    /// weights of each.
    pub(crate) fn fingerprint(&self) -> u64 {
        *self.0.fingerprint.get_or_init(|| {
            const SAMPLE: usize = 64;
            let mut hash = Fnv::new();
            for tensor in self.0.gguf.tensors() {
                hash.add(tensor.name().as_bytes());
                hash.add(&tensor.tensor_type().id().to_le_bytes());
                for length in tensor.shape() {
                    hash.add(&length.to_le_bytes());
                }
                let bytes = self.0.gguf.bytes(tensor);
                hash.add(&bytes[..bytes.len().min(SAMPLE)]);
                hash.add(&bytes[bytes.len().saturating_sub(SAMPLE)..]);
            }
            for frequency in &self.0.frequencies {
                hash.add(&frequency.to_bits().to_le_bytes());
            }
            hash.0
        })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("architecture", &self.architecture())
            .field("parameters", &self.parameters())
            .field("isa", &self.isa())
            .field("threads", &self.threads().count())
            .finish_non_exhaustive()
    }
}

/// The hash FNV-1a of 64 bits (Fowler, Noll, Vo): the same in every build.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
