//! `yareta inspect`: what is in a GGUF file. Works for every file that follows the format,
//! whether or not a model can be made of it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::{Map, json};
use yareta::gguf::{Array, TensorInfo, TensorType, Value};
use yareta::{Gguf, MemoryPlan, Model};

use crate::failure::{Failure, Outcome};
use crate::options::SessionArgs;
use crate::source::Source;
use crate::text::{Plain, Side, Table, bytes, count, shortened};

/// Characters of a metadata value in the listing.
const SHOWN: usize = 80;

/// The context of a session for which none is asked, as the library has it.
const DEFAULT_CONTEXT: usize = 4096;

/// Elements of an array in the listing and in JSON.
const ELEMENTS: usize = 8;

/// What `inspect` is told.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// The file, as with --model
    #[arg(value_name = "FILE", conflicts_with = "model")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    session: SessionArgs,
    /// Print the value of one metadata key and nothing else
    #[arg(long, value_name = "KEY", conflicts_with_all = ["json", "full"])]
    key: Option<String>,
    /// Show texts and arrays in full
    #[arg(long)]
    full: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists the file.
pub fn run(mut args: InspectArgs) -> Outcome {
    args.source.model = args.source.model.or(args.file);
    let gguf = args.source.open()?;
    let name = args.source.name();
    let mut out = BufWriter::new(io::stdout().lock());
    match &args.key {
        Some(key) => print_key(&gguf, key, &mut out)?,
        None if args.json => {
            let mut all = describe(&gguf, &name, args.full);
            all["memory"] = match plan(&gguf, &args.session) {
                Ok((context, plan)) => json!({
                    "context": context,
                    "weights_bytes": plan.weights,
                    "cache_bytes": plan.cache,
                    "scratch_bytes": plan.scratch,
                }),
                Err(error) => json!({"error": error.to_string()}),
            };
            serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        None => {
            list(&gguf, &name, args.full, &mut out)?;
            print_plan(&gguf, &args.session, &mut out)?;
        }
    }
    Ok(out.flush()?)
}

/// Sizes of a tensor, or of several together.
#[derive(Clone, Copy, Default)]
struct Size {
    tensors: usize,
    weights: u64,
    bytes: u64,
}

impl Size {
    fn add(&mut self, tensor: &TensorInfo) {
        self.tensors += 1;
        // Sums of what lies in files that are mapped cannot overflow, but that of weights can be
        // made to with types of less than a bit each.
        self.weights = self.weights.saturating_add(tensor.elements());
        self.bytes = self.bytes.saturating_add(tensor.byte_len() as u64);
    }

    fn of<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Size {
        let mut size = Size::default();
        tensors.into_iter().for_each(|tensor| size.add(tensor));
        size
    }

    fn bits_per_weight(self) -> f64 {
        self.bytes as f64 * 8.0 / self.weights.max(1) as f64
    }
}

/// Sizes by type, in the order of the types' numbers.
fn by_type(gguf: &Gguf) -> Vec<(TensorType, Size)> {
    let mut sizes: BTreeMap<u32, (TensorType, Size)> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let kind = tensor.tensor_type();
        let (_, size) = sizes.entry(kind.id()).or_insert((kind, Size::default()));
        size.add(tensor);
    }
    sizes.into_values().collect()
}

fn print_key(gguf: &Gguf, key: &str, out: &mut impl Write) -> Outcome {
    let value = gguf.metadata().get(key).ok_or_else(|| {
        Failure::from(yareta::Error::MissingKey {
            key: key.to_owned(),
        })
    })?;
    match value {
        Value::String(text) => out.write_all(text.as_bytes())?,
        Value::Array(array) => serde_json::to_writer(&mut *out, &array_json(array, usize::MAX))
            .map_err(io::Error::from)?,
        other => write!(out, "{other}")?,
    }
    Ok(writeln!(out)?)
}

fn list(gguf: &Gguf, name: &str, full: bool, out: &mut impl Write) -> Outcome {
    let metadata = gguf.metadata();
    let total = Size::of(gguf.tensors());
    writeln!(
        out,
        "{name}: GGUF {}{}{}, {}, {} weights in {} tensors, {:.2} bits per weight",
        gguf.version(),
        if gguf.is_big_endian() {
            ", big-endian"
        } else {
            ""
        },
        match gguf.parts() {
            1 => String::new(),
            parts => format!(", {parts} parts"),
        },
        bytes(gguf.file_len()),
        count(total.weights),
        total.tensors,
        total.bits_per_weight(),
    )?;

    writeln!(out, "\nmetadata, {} keys", metadata.len())?;
    let mut table = Table::new(&[Side::Left, Side::Left, Side::Left]);
    for (key, value) in metadata.iter() {
        table.row([Plain(key).to_string(), type_name(value), shown(value, full)]);
    }
    table.write(out, 2)?;
    if gguf.tensors().is_empty() {
        return Ok(());
    }

    writeln!(out, "\ntensors, fastest dimension first")?;
    let mut table = Table::new(&[
        Side::Left,
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
    ]);
    table.row(["name", "type", "shape", "weights", "size", "bits/weight"]);
    for tensor in gguf.tensors() {
        let size = Size::of([tensor]);
        let shape: Vec<String> = tensor.shape().iter().map(u64::to_string).collect();
        table.row([
            Plain(tensor.name()).to_string(),
            tensor.tensor_type().to_string(),
            shape.join(" × "),
            count(size.weights),
            bytes(size.bytes),
            format!("{:.2}", size.bits_per_weight()),
        ]);
    }
    table.write(out, 2)?;

    writeln!(out, "\nby type")?;
    let mut table = Table::new(&[
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Left,
    ]);
    table.row(["type", "tensors", "weights", "size", "bits/weight"]);
    for (kind, size) in by_type(gguf) {
        table.row([
            kind.to_string(),
            size.tensors.to_string(),
            count(size.weights),
            bytes(size.bytes),
            format!("{:.2}", size.bits_per_weight()),
            match kind.format() {
                Some(_) => String::new(),
                None => "cannot be computed with".into(),
            },
        ]);
    }
    Ok(table.write(out, 2)?)
}

/// The context of a session with these options and the memory it takes.
fn plan(gguf: &Gguf, session: &SessionArgs) -> yareta::Result<(usize, MemoryPlan)> {
    let model = Model::from_gguf(gguf.clone())?;
    let options = session.options();
    Ok((
        session
            .context
            .unwrap_or(model.context().min(DEFAULT_CONTEXT)),
        model.plan(&options)?,
    ))
}

fn print_plan(gguf: &Gguf, session: &SessionArgs, out: &mut impl Write) -> Outcome {
    match plan(gguf, session) {
        Ok((context, plan)) => writeln!(
            out,
            "\nmemory of a session with a context of {context}: {} of weights (mapped), {} of \
             cache, {} of scratch",
            bytes(plan.weights),
            bytes(plan.cache),
            bytes(plan.scratch),
        )?,
        Err(error) => writeln!(out, "\nyareta cannot run it: {}", Plain(&error.to_string()))?,
    }
    Ok(())
}

fn type_name(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("{}[{}]", array.element_type(), array.len()),
        other => other.value_type().to_string(),
    }
}

/// A value on one line.
fn shown(value: &Value, full: bool) -> String {
    let text = match value {
        Value::Array(array) if full => array_json(array, usize::MAX).to_string(),
        other => other.to_string(),
    };
    let text = Plain(&text).to_string();
    match full {
        true => text,
        false => shortened(&text, SHOWN),
    }
}

fn describe(gguf: &Gguf, name: &str, full: bool) -> serde_json::Value {
    let limit = if full { usize::MAX } else { ELEMENTS };
    let metadata: Map<String, serde_json::Value> = gguf
        .metadata()
        .iter()
        .map(|(key, value)| (key.to_owned(), value_json(value, limit)))
        .collect();
    let size_json = |size: Size| {
        json!({
            "tensors": size.tensors,
            "weights": size.weights,
            "bytes": size.bytes,
            "bits_per_weight": size.bits_per_weight(),
        })
    };
    let tensors: Vec<serde_json::Value> = gguf
        .tensors()
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name(),
                "type": tensor.tensor_type().name(),
                "shape": tensor.shape(),
                "weights": tensor.elements(),
                "bytes": tensor.byte_len(),
                "bits_per_weight": Size::of([tensor]).bits_per_weight(),
                "part": tensor.part(),
                "offset": tensor.byte_range().start,
            })
        })
        .collect();
    let types: Map<String, serde_json::Value> = by_type(gguf)
        .into_iter()
        .map(|(kind, size)| (kind.name().to_owned(), size_json(size)))
        .collect();
    json!({
        "file": name,
        "version": gguf.version(),
        "big_endian": gguf.is_big_endian(),
        "alignment": gguf.alignment(),
        "parts": gguf.parts(),
        "file_bytes": gguf.file_len(),
        "total": size_json(Size::of(gguf.tensors())),
        "metadata": metadata,
        "types": types,
        "tensors": tensors,
    })
}

fn value_json(value: &Value, limit: usize) -> serde_json::Value {
    match value {
        Value::String(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        Value::Bool(value) => (*value).into(),
        Value::F32(value) => float_json(f64::from(*value), value.to_string()),
        Value::F64(value) => float_json(*value, value.to_string()),
        Value::Array(array) if array.len() <= limit => array_json(array, limit),
        Value::Array(array) => json!({
            "type": array.element_type().name(),
            "length": array.len(),
            "first": array_json(array, limit),
        }),
        other => match other.as_integer() {
            Some(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) => number.into(),
                _ => other.to_string().into(),
            },
            None => other.to_string().into(),
        },
    }
}

/// A number with the digits that `text` has, where `text` shows fewer than `value`; JSON has no
/// infinities and no NaN, which are texts.
fn float_json(value: f64, text: String) -> serde_json::Value {
    match text.parse::<f64>() {
        Ok(short) if value.is_finite() => short.into(),
        _ => text.into(),
    }
}

/// At most the first `limit` elements.
fn array_json(array: &Array, limit: usize) -> serde_json::Value {
    let elements = array.iter().take(limit);
    elements.map(|value| value_json(&value, limit)).collect()
}
