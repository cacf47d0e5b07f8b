//! The program as its users see it: what it prints where, and how it exits.

mod common;
mod inspect;
mod tokenize;
