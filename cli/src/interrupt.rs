//! Ctrl-C: the first ends the work in hand, a second the program.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use yareta::CancelToken;

use crate::failure::{Failure, Outcome};

/// The exit code of a program that was interrupted.
pub const EXIT_CODE: i32 = 130;

/// What Ctrl-C does from now on.
#[derive(Clone)]
pub struct Interrupt {
    /// Ends the work in hand when set.
    pub cancel: CancelToken,
    /// Whether there is work in hand; where there is none, the program ends.
    working: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes charge of Ctrl-C. Can be called once.
    pub fn install() -> Outcome<Interrupt> {
        let interrupt = Interrupt {
            cancel: CancelToken::new(),
            working: Arc::new(AtomicBool::new(true)),
        };
        let handler = interrupt.clone();
        ctrlc::set_handler(move || {
            if handler.cancel.is_cancelled() || !handler.working.load(Ordering::SeqCst) {
                process::exit(EXIT_CODE);
            }
            handler.cancel.cancel();
        })
        .map_err(|error| Failure::Error(format!("cannot handle Ctrl-C: {error}")))?;
        Ok(interrupt)
    }

    /// Does `work`, which Ctrl-C ends; before and after it, Ctrl-C ends the program.
    pub fn during<T>(&self, work: impl FnOnce(&CancelToken) -> T) -> T {
        self.cancel.reset();
        self.working.store(true, Ordering::SeqCst);
        let result = work(&self.cancel);
        self.working.store(false, Ordering::SeqCst);
        self.cancel.reset();
        result
    }
}
