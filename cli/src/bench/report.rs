//! What a bench found, for people and for scripts.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::memory::Resident;
use super::side::Side;
use super::statistics::Samples;
use super::{BenchArgs, Figure};
use crate::failure::Outcome;
use crate::text::{Side as Align, Table, bytes, count, number};

/// Everything that was measured.
pub struct Report<'a> {
    pub args: &'a BenchArgs,
    /// One, or two that are compared.
    pub sides: &'a [Side],
    /// Of the first side alone.
    pub resident: Option<Resident>,
    /// Whether the machine was measured.
    pub has_limits: bool,
}

/// What the numbers in parentheses are.
const SPREAD: &str = "medians (between quartiles)";

impl Report<'_> {
    /// A few lines for people.
    pub fn print(&self) -> Outcome {
        let mut out = io::stdout().lock();
        for (index, side) in self.sides.iter().enumerate() {
            self.print_side(index, side, &mut out)?;
        }
        if let [first, second] = self.sides {
            self.print_ratios(first, second, &mut out)?;
        }
        writeln!(out, "{SPREAD} of {} runs", self.args.repetitions)?;
        Ok(out.flush()?)
    }

    fn print_side(&self, index: usize, side: &Side, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {}, {} weights, {}, {} threads, {}, {}, batch {}{}",
            side.name,
            side.model.architecture(),
            count(side.model.parameters()),
            bytes(side.model.gguf().file_len()),
            side.model.threads().count(),
            side.model.isa(),
            kv_name(side),
            side.settings.batch,
            match side.settings.huge_pages {
                true => ", huge pages",
                false => "",
            },
        )?;
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left, Align::Left]);
        let depth = match side.settings.depth {
            0 => String::new(),
            depth => format!(" at {depth}"),
        };
        for figure in self.args.figures() {
            let tokens = match figure {
                Figure::Prompt => self.args.prompt,
                Figure::Generation => self.args.generate,
            };
            table.row([
                format!("{} {tokens}{depth}", figure.name()),
                side.rates(figure).text(),
                "tokens/s".into(),
                self.share(side, figure),
            ]);
        }
        if self.has_limits {
            self.limit_rows(side, &mut table);
        }
        table.row([
            "load",
            &number(side.load_time.as_secs_f64() * 1000.0),
            "ms",
            &format!(
                "then {} s to warm up",
                number(side.warm_up_time.as_secs_f64())
            ),
        ]);
        table.write(out, 2)?;
        if let (Some(resident), 0) = (self.resident, index) {
            writeln!(
                out,
                "  memory: {} resident, of which {} mapped file and {} own (planned: cache {}, \
                 scratch {}); peak {}",
                bytes(resident.total),
                bytes(resident.file),
                bytes(resident.own),
                bytes(side.plan.cache),
                bytes(side.plan.scratch),
                bytes(resident.peak),
            )?;
        }
        Ok(())
    }

    /// What share of the limit a figure is, and of what that limit is made.
    fn share(&self, side: &Side, figure: Figure) -> String {
        if !self.has_limits {
            return String::new();
        }
        let percent = |samples: &Samples| format!("{:.0} %", samples.median() * 100.0);
        match figure {
            Figure::Prompt => {
                let shares = side.product_shares();
                format!(
                    "{} of the peak of products with weights, {} with keys and values",
                    percent(&shares.weights),
                    percent(&shares.attention),
                )
            }
            Figure::Generation => format!(
                "{} of the rate of reading; {} of a token are not reading",
                percent(&side.reading_shares()),
                time(side.overheads().median()),
            ),
        }
    }

    fn limit_rows(&self, side: &Side, table: &mut Table) {
        let limits = &side.limits;
        let giga = |samples: &Samples| samples.scaled(1e-9).text();
        for figure in self.args.figures() {
            match figure {
                Figure::Prompt => {
                    let products = side.weight_products_per_token();
                    let attention = side.attention_products_per_token();
                    let int8 = format!("int8; a token has {}", count(products.int8 as u64));
                    let float = format!(
                        "floats; a token has {}, and {} with keys and values",
                        count(products.float as u64),
                        count(attention as u64)
                    );
                    table.row(["peak of products", &giga(&limits.int8), "G/s", &int8]);
                    table.row(["", &giga(&limits.float), "G/s", &float]);
                    if products.bf16 > 0.0 {
                        let bf16 = format!("bfloat16; a token has {}", count(products.bf16 as u64));
                        table.row(["", &giga(&limits.bf16), "G/s", &bf16]);
                    }
                }
                Figure::Generation => {
                    let read = format!(
                        "a token reads {} of weights, {} of keys and values",
                        bytes(side.weight_bytes_per_token() as u64),
                        bytes(side.cached_bytes_per_token() as u64)
                    );
                    table.row(["rate of reading", &giga(&limits.reading), "GB/s", &read]);
                }
            }
        }
    }

    fn print_ratios(&self, first: &Side, second: &Side, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "first to second, pair by pair")?;
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
        for figure in self.args.figures() {
            let ratios = first.rates(figure).ratios(second.rates(figure));
            let three_decimals = |value: f64| format!("{value:.3}");
            table.row([
                figure.name(),
                &ratios.text_by(three_decimals),
                "times as fast",
            ]);
        }
        table.write(out, 2)
    }

    /// The same for scripts.
    pub fn print_json(&self) -> Outcome {
        let sides: Vec<Value> = self.sides.iter().map(|side| self.side_json(side)).collect();
        let mut all = json!({
            "prompt_tokens": self.args.prompt,
            "generated_tokens": self.args.generate,
            "repetitions": self.args.repetitions,
            "sides": sides,
            "memory": self.resident.map(|resident| resident.json()),
        });
        if let [first, second] = self.sides {
            for figure in self.args.figures() {
                let ratios = first.rates(figure).ratios(second.rates(figure));
                all["ratio"][figure.name()] = ratios.json();
            }
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{all:#}")?;
        Ok(out.flush()?)
    }

    fn side_json(&self, side: &Side) -> Value {
        let mut json = json!({
            "model": side.name,
            "architecture": side.model.architecture(),
            "weights": side.model.parameters(),
            "file_bytes": side.model.gguf().file_len(),
            "threads": side.model.threads().count(),
            "isa": side.model.isa().name(),
            "kv": kv_name(side),
            "batch": side.settings.batch,
            "huge_pages": side.settings.huge_pages,
            "depth": side.settings.depth,
            "context": side.session.context(),
            "load_seconds": side.load_time.as_secs_f64(),
            "warm_up_seconds": side.warm_up_time.as_secs_f64(),
            "plan": {
                "weights_bytes": side.plan.weights,
                "cache_bytes": side.plan.cache,
                "scratch_bytes": side.plan.scratch,
            },
        });
        for figure in self.args.figures() {
            json[figure.name()] = self.figure_json(side, figure);
        }
        json
    }

    fn figure_json(&self, side: &Side, figure: Figure) -> Value {
        let mut json = json!({"tokens_per_second": side.rates(figure).json()});
        match figure {
            Figure::Prompt => {
                let products = side.weight_products_per_token();
                json["int8_weight_products_per_token"] = products.int8.into();
                json["float_weight_products_per_token"] = products.float.into();
                json["bf16_weight_products_per_token"] = products.bf16.into();
                json["attention_products_per_token"] = side.attention_products_per_token().into();
                if self.has_limits {
                    let shares = side.product_shares();
                    json["weight_share_of_peak"] = shares.weights.json();
                    json["attention_share_of_peak"] = shares.attention.json();
                    json["int8_products_per_second"] = side.limits.int8.json();
                    json["float_products_per_second"] = side.limits.float.json();
                    json["bf16_products_per_second"] = side.limits.bf16.json();
                }
            }
            Figure::Generation => {
                json["weight_bytes_per_token"] = side.weight_bytes_per_token().into();
                json["cached_bytes_per_token"] = side.cached_bytes_per_token().into();
                if self.has_limits {
                    json["share_of_reading"] = side.reading_shares().json();
                    json["seconds_beyond_reading"] = side.overheads().json();
                    json["bytes_read_per_second"] = side.limits.reading.json();
                }
            }
        }
        json
    }
}

/// What the type of keys and values is called on the command line.
fn kv_name(side: &Side) -> String {
    format!("{:?}", side.settings.kv).to_lowercase()
}

/// A time in three digits.
fn time(seconds: f64) -> String {
    match seconds.abs() {
        1.0.. => format!("{} s", number(seconds)),
        1e-3.. => format!("{} ms", number(seconds * 1e3)),
        _ => format!("{} µs", number(seconds * 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time(1.5), "1.50 s");
        assert_eq!(time(0.0123), "12.3 ms");
        assert_eq!(time(42e-6), "42.0 µs");
        assert_eq!(time(-42e-6), "-42.0 µs");
    }
}
