//! Layers with experts: a router weighs a few of many feed-forward networks for each token.
//!
//! Tokens are grouped by expert, so that a batch reads the weights of each expert once. An
//! expert's output is added to its tokens in ascending order of experts, whatever else is in the
//! batch.

use super::scratch::{Choice, ExpertScratch, Scratch};
use super::tools::Tools;
use super::{HiddenBuffers, rows};
use crate::arch::Gating;
use crate::config::{Config, Experts};
use crate::weights::{Linear, Mlp};
use std::ops::Range;

/// `change = sum over the chosen experts of weight * expert(normed)`, of some tokens; `layer` is the router,
/// the experts, and what is multiplied after them.
pub(super) fn mix(
    tools: Tools,
    config: &Config,
    layer: (&Linear, &[Mlp], &Linear),
    scratch: &mut Scratch,
    tokens: Range<usize>,
) {
    let (router, experts, next) = layer;
    let width = config.width;
    let (Some(own), Some(counts)) = (&mut scratch.experts, config.experts) else {
        return;
    };
    let numbers = rows(&tokens, width);
    let normed = &scratch.normed[numbers.clone()];
    let prepared = &mut scratch.prepared;
    let scores = &mut own.scores[..tokens.len() * counts.count];
    tools.prepare(normed, width, router.matrix.precision(), prepared);
    tools.multiply(prepared, [(router, &mut *scores)], None);
    choose(config.architecture.gating, counts, own, tokens.len());

    let change = &mut scratch.change[numbers];
    change.fill(0.0);
    let groups = own.choices.chunk_by(|a, b| a.expert == b.expert);
    let mut groups = groups.peekable();
    while let Some(group) = groups.next() {
        let expert = |group: &[Choice]| &experts[group[0].expert as usize];
        let input = &mut own.gathered[..group.len() * width];
        for (row, choice) in input.chunks_exact_mut(width).zip(group) {
            let token = choice.token as usize * width;
            row.copy_from_slice(&normed[token..token + width]);
        }
        let hidden = HiddenBuffers {
            few: &mut scratch.hidden_few,
            many: &mut scratch.hidden_many,
            input: &mut scratch.prepared,
            output: &mut scratch.hidden,
            next: groups.peek().map_or(next, |group| expert(group).first()),
        };
        let output = &mut own.output[..group.len() * width];
        hidden.compute(tools, config, expert(group), (input, output));
        for (row, choice) in output.chunks_exact(width).zip(group) {
            let token = choice.token as usize * width;
            tools
                .cpu
                .multiply_add(&mut change[token..token + width], row, choice.weight);
        }
    }
}

/// Chooses the experts of each token by their scores, (tokens, experts): the best `used`, of
/// equals the first. Leaves the choices in order of experts, then tokens.
fn choose(gating: Gating, counts: Experts, scratch: &mut ExpertScratch, tokens: usize) {
    let scores = &scratch.scores[..tokens * counts.count];
    let choices = &mut scratch.choices;
    choices.clear();
    for (token, scores) in scores.chunks_exact(counts.count).enumerate() {
        let first = choices.len();
        for _ in 0..counts.used {
            let taken = &choices[first..];
            let free = |expert: &u32| taken.iter().all(|choice| choice.expert != *expert);
            let best = (0..counts.count as u32)
                .filter(free)
                .reduce(|best, expert| {
                    let better = scores[expert as usize] > scores[best as usize];
                    if better { expert } else { best }
                });
            let Some(expert) = best else { break };
            choices.push(Choice {
                expert,
                token: token as u32,
                weight: scores[expert as usize],
            });
        }
        weigh(gating, &mut choices[first..]);
    }
    choices.sort_unstable_by_key(|choice| (choice.expert, choice.token));
}

/// Turns the scores of one token's experts, the best first, into weights.
fn weigh(gating: Gating, choices: &mut [Choice]) {
    match gating {
        Gating::SoftmaxOfChosen => {
            let best = choices.first().map_or(0.0, |choice| choice.weight);
            let mut sum = 0.0;
            for choice in &mut *choices {
                choice.weight = (choice.weight - best).exp();
                sum += choice.weight;
            }
            for choice in choices {
                choice.weight /= sum;
            }
        }
    }
}
