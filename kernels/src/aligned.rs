//! Memory that begins on a cache line, so that no vector of it lies on two.

use std::ops::{Deref, DerefMut};
use zerocopy::{FromZeros, Immutable};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Numbers, all zero at first, that begin on a cache line. The system gives their memory as they
/// are written: an allocation that asks for alignment would be cleared, and so taken, at once.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    memory: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: FromZeros + Immutable + Copy> Aligned<T> {
    /// So many zeros; `None` if there is not that much memory.
    pub(crate) fn zeros(len: usize) -> Option<Aligned<T>> {
        let memory = T::new_vec_zeroed(Aligned::<T>::room(len)?).ok()?;
        let first = memory.as_ptr().addr().next_multiple_of(LINE) - memory.as_ptr().addr();
        Some(Aligned {
            first: first / size_of::<T>(),
            memory,
            len,
        })
    }

    /// Numbers that are taken for `len` of them.
    fn room(len: usize) -> Option<usize> {
        len.checked_add(LINE / size_of::<T>())
    }

    /// Bytes that [`zeros`](Aligned::zeros) takes.
    pub(crate) fn bytes(len: usize) -> Option<usize> {
        Aligned::<T>::room(len)?.checked_mul(size_of::<T>())
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.memory[self.first..self.first + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.first..self.first + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_on_a_line() {
        for len in [0, 1, 16, 33, 100_000] {
            let numbers = Aligned::<f32>::zeros(len).unwrap();
            assert!(numbers.as_ptr().addr().is_multiple_of(LINE));
            assert!(numbers.len() == len && numbers.iter().all(|x| *x == 0.0));
            assert_eq!(Aligned::<f32>::bytes(len), Some(len * 4 + LINE));
        }
        assert!(Aligned::<u16>::zeros(usize::MAX).is_none());
    }
}
