//! Writes a model again with its weights in another format.
//!
//! Matrices are encoded; what is small and sensitive (norms, biases, the routers of experts,
//! frequency factors) stays as it is. Metadata is copied. The bytes depend on the arguments
//! alone: encoding the same file twice, anywhere, gives the same file.

use std::fmt;
use std::io::Write;

use yareta_kernels::Format;

use crate::gguf::{Gguf, TensorInfo, TensorType, Writer};
use crate::{CancelToken, Error, Result, Threads};

/// Rows that are decoded and encoded at a time.
const ROWS: usize = 256;

/// Into which formats a model is quantized.
pub struct QuantizeOptions<'a> {
    format: Format,
    embedding: Option<Format>,
    output: Option<Format>,
    threads: Option<Threads>,
    progress: Option<&'a mut dyn FnMut(usize, usize)>,
    cancel: Option<&'a CancelToken>,
}

impl fmt::Debug for QuantizeOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuantizeOptions")
            .field("format", &self.format)
            .field("embedding", &self.embedding)
            .field("output", &self.output)
            .field("threads", &self.threads)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> QuantizeOptions<'a> {
    /// All matrices in `format`.
    pub fn new(format: Format) -> QuantizeOptions<'a> {
        QuantizeOptions {
            format,
            embedding: None,
            output: None,
            threads: None,
            progress: None,
            cancel: None,
        }
    }

    /// Another format for the embedding. Where the embedding serves as output matrix as well,
    /// more bits than elsewhere are well spent on it.
    pub fn embedding(mut self, format: Format) -> QuantizeOptions<'a> {
        self.embedding = Some(format);
        self
    }

    /// Another format for the output matrix.
    pub fn output(mut self, format: Format) -> QuantizeOptions<'a> {
        self.output = Some(format);
        self
    }

    /// The threads to encode with. Default: [`Threads::physical`].
    pub fn threads(mut self, threads: Threads) -> QuantizeOptions<'a> {
        self.threads = Some(threads);
        self
    }

    /// Is called with the tensors that are done and that there are.
    pub fn progress(mut self, progress: &'a mut dyn FnMut(usize, usize)) -> QuantizeOptions<'a> {
        self.progress = Some(progress);
        self
    }

    /// Ends the writing, within a few hundred rows of a tensor, with [`Error::Cancelled`] when set.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> QuantizeOptions<'a> {
        self.cancel = Some(cancel);
        self
    }

    fn check_cancelled(&self) -> Result<()> {
        match self.cancel.is_some_and(CancelToken::is_cancelled) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// The format that a tensor is to have; `None` for its own.
    fn target(&self, tensor: &TensorInfo) -> Option<Format> {
        let name = tensor.name();
        let is_matrix = tensor.shape().len() > 1 && name.ends_with(".weight");
        let is_router = name.contains("ffn_gate_inp");
        match name {
            _ if !is_matrix || is_router => None,
            "token_embd.weight" => Some(self.embedding.unwrap_or(self.format)),
            "output.weight" => Some(self.output.unwrap_or(self.format)),
            _ => Some(self.format),
        }
    }
}

/// Writes the model of `gguf` to `out` with its weights in other formats, and answers `out`.
///
/// # Errors
/// [`Error::TensorType`] for a tensor that cannot be decoded, or whose rows are not whole blocks
/// of the format it is to have; [`Error::Write`] if `out` fails; [`Error::Cancelled`].
pub fn quantize<W: Write>(gguf: &Gguf, mut options: QuantizeOptions<'_>, out: W) -> Result<W> {
    let threads = match options.threads.take() {
        Some(threads) => threads,
        None => Threads::physical()?,
    };
    let mut writer = Writer::new();
    writer.copy_metadata(gguf.metadata())?;
    writer.set("general.quantization_version", 2u32)?;
    writer.set("general.file_type", file_type(options.format))?;
    for tensor in gguf.tensors() {
        let target = options.target(tensor);
        let tensor_type = match target {
            None => tensor.tensor_type(),
            Some(format) => {
                source(gguf, tensor)?;
                let cols = row_length(tensor);
                if format.row_bytes(cols).is_none() {
                    return Err(unsupported(
                        tensor,
                        format!("rows of {cols} weights, which are not whole blocks of {format}"),
                    ));
                }
                TensorType::from(format)
            }
        };
        writer.tensor(tensor.name(), tensor_type, tensor.shape())?;
    }
    let mut data = writer.start(out)?;
    let count = gguf.tensors().len();
    for (index, tensor) in gguf.tensors().iter().enumerate() {
        options.check_cancelled()?;
        match options.target(tensor) {
            None => data.write(gguf.bytes(tensor))?,
            Some(format) => {
                let from = source(gguf, tensor)?;
                encode(
                    &threads,
                    gguf.bytes(tensor),
                    (from, format),
                    tensor,
                    |bytes| {
                        options.check_cancelled()?;
                        data.write(bytes)
                    },
                )?;
            }
        }
        if let Some(progress) = &mut options.progress {
            progress(index + 1, count);
        }
    }
    data.finish()
}

/// Encodes the rows of a tensor, some at a time, and gives their bytes to `write`.
fn encode(
    threads: &Threads,
    bytes: &[u8],
    (from, to): (Format, Format),
    tensor: &TensorInfo,
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let cols = row_length(tensor);
    let (Some(from_bytes), Some(to_bytes)) = (from.row_bytes(cols), to.row_bytes(cols)) else {
        return Err(unsupported(tensor, "rows that are not whole blocks".into()));
    };
    let mut encoded = vec![0; ROWS * to_bytes];
    for rows in bytes.chunks(ROWS * from_bytes) {
        let count = rows.len() / from_bytes;
        let pairs = rows
            .chunks_exact(from_bytes)
            .zip(encoded.chunks_exact_mut(to_bytes));
        threads.enter(|team| {
            team.for_each(pairs, |(row, out)| {
                let mut weights = vec![0.0; cols];
                from.decode(row, &mut weights);
                to.encode(&weights, None, out);
            });
        });
        write(&encoded[..count * to_bytes])?;
    }
    Ok(())
}

/// The format of a tensor that can be decoded.
fn source(gguf: &Gguf, tensor: &TensorInfo) -> Result<Format> {
    let found = tensor.tensor_type();
    match found.format() {
        Some(format) if !gguf.is_big_endian() => Ok(format),
        _ => Err(unsupported(tensor, found.name().into())),
    }
}

fn row_length(tensor: &TensorInfo) -> usize {
    // The tensor lies in memory, so no dimension of it is beyond memory.
    tensor.shape()[0] as usize
}

fn unsupported(tensor: &TensorInfo, found: String) -> Error {
    Error::TensorType {
        tensor: tensor.name().into(),
        found,
    }
}

/// The number that `general.file_type` has for a file of mostly this format.
fn file_type(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q8_0 => 7,
        Format::Q5_0 => 8,
        Format::Q5_1 => 9,
        Format::Q2_K => 10,
        Format::Q3_K => 11,
        Format::Q4_K => 14,
        Format::Q5_K => 16,
        Format::Q6_K => 18,
        Format::IQ2_XXS => 19,
        Format::IQ2_XS => 20,
        Format::IQ3_XXS => 23,
        Format::IQ1_S => 24,
        Format::IQ4_NL => 25,
        Format::IQ3_S => 26,
        Format::IQ2_S => 28,
        Format::IQ4_XS => 30,
        Format::IQ1_M => 31,
        Format::BF16 => 32,
        Format::TQ1_0 => 36,
        Format::TQ2_0 => 37,
        Format::MXFP4 => 38,
        // "Guessed": for formats that have no number of their own.
        _ => 1024,
    }
}
