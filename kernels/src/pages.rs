//! Asking the system for huge pages: two megabytes or so of memory that take one entry of the
//! processor's tables of pages where four kilobytes each took one.
//!
//! Responsible for the advice alone. Whether memory lies in huge pages then is the system's choice,
//! and changes nothing but speed.

/// Asks that `memory`, best before it is first written to, be held in huge pages. Does nothing where
/// the system has none, and for memory that is smaller than they are.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn ask_for_huge_pages<T>(memory: &[T]) {
    use rustix::mm::{Advice, madvise};

    /// The smallest huge page of any processor that is worth it.
    const SMALLEST: usize = 2 << 20;

    let page = rustix::param::page_size();
    let range = memory.as_ptr_range();
    let start = range.start.addr().next_multiple_of(page);
    let end = range.end.addr() / page * page;
    if end < start.saturating_add(SMALLEST) {
        return;
    }
    let first = range.start.wrapping_byte_add(start - range.start.addr());
    // SAFETY: the range is whole pages within `memory`. This advice neither changes what they hold nor
    // how they may be used.
    #[allow(unsafe_code)]
    let advised = unsafe { madvise(first.cast_mut().cast(), end - start, Advice::LinuxHugepage) };
    // A system without huge pages refuses.
    let _ = advised;
}

/// Asks for nothing: this system has no such advice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn ask_for_huge_pages<T>(_memory: &[T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_what_it_was() {
        for len in [0, 1, 4096, 1 << 20, 5 << 20] {
            let mut memory = vec![0_u16; len];
            ask_for_huge_pages(&memory);
            for (i, value) in memory.iter_mut().enumerate() {
                *value = i as u16;
            }
            ask_for_huge_pages(&memory);
            assert!(
                memory
                    .iter()
                    .enumerate()
                    .all(|(i, value)| *value == i as u16)
            );
        }
    }

    /// Where the system tells what it was asked for, it was asked. (Emulation in user mode, which other
    /// processors than this are tested by, takes the advice and does nothing.)
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_system_is_asked() {
        let memory = vec![0_u8; 64 << 20];
        ask_for_huge_pages(&memory);
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
            return println!("/proc/self/smaps cannot be read: nothing to look at");
        };
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            return println!("the system has no huge pages");
        }
        let middle = memory.as_ptr().addr() + memory.len() / 2;
        let mut inside = false;
        let flags = maps.lines().find_map(|line| {
            if let Some((start, end)) = line.split(' ').next()?.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).ok();
                if let (Some(start), Some(end)) = (number(start), number(end)) {
                    inside = (start..end).contains(&middle);
                }
            }
            line.strip_prefix("VmFlags:").filter(|_| inside)
        });
        let flags = flags.expect("the memory is mapped");
        assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
    }
}
