//! How many cores are worth a thread each. Not: pinning threads to them.
//!
//! Linux tells in `/sys/devices/system/cpu`: hardware threads of one core list each other in
//! `topology/thread_siblings_list`; where cores differ in kind, `/sys/devices/cpu_core/cpus`
//! (x86) lists the performance cores and `cpu_capacity` (Arm) ranks each core. Elsewhere, and
//! where the files say nothing, every usable processor counts.

use std::collections::BTreeSet;
use std::path::Path;

/// Larger processor numbers than this are taken for nonsense.
const MOST_PROCESSORS: usize = 1 << 14;

/// Processors that the system lets this process use, by affinity and quota.
pub(super) fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// Physical performance cores, at most as many as [`usable_cores`].
pub(super) fn performance_cores() -> usize {
    let usable = usable_cores();
    count(Path::new("/sys/devices")).map_or(usable, |cores| cores.clamp(1, usable))
}

/// Performance cores according to the files under `devices`; `None` if there are no such files.
fn count(devices: &Path) -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(devices.join(path)).ok();
    let online = parse_list(&read("system/cpu/online")?)?;
    let fast: BTreeSet<usize> = match read("cpu_core/cpus").as_deref().and_then(parse_list) {
        Some(listed) => listed.intersection(&online).copied().collect(),
        None => {
            let capacity = |cpu: &usize| -> Option<u32> {
                let text = read(&format!("system/cpu/cpu{cpu}/cpu_capacity"))?;
                text.trim().parse().ok()
            };
            let best = online.iter().filter_map(capacity).max().unwrap_or(0);
            // Middle cores of three-tier chips come within three quarters of the big ones.
            let keeps_up = |cpu: &usize| capacity(cpu).is_none_or(|c| c >= best / 4 * 3);
            online.iter().copied().filter(keeps_up).collect()
        }
    };
    // A core is known by the first of its hardware threads.
    let first_sibling = |cpu: &usize| {
        read(&format!(
            "system/cpu/cpu{cpu}/topology/thread_siblings_list"
        ))
        .as_deref()
        .and_then(parse_list)
        .and_then(|siblings| siblings.first().copied())
        .unwrap_or(*cpu)
    };
    let cores: BTreeSet<usize> = fast.iter().map(first_sibling).collect();
    (!cores.is_empty()).then_some(cores.len())
}

/// A list as the kernel writes it: `0-3,8,10-11`.
fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut list = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().ok()?;
        let last: usize = last.parse().ok()?;
        if first > last || last >= MOST_PROCESSORS {
            return None;
        }
        list.extend(first..=last);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn devices(name: &str, files: &[(&str, &str)]) -> Option<usize> {
        let root = std::env::temp_dir().join(format!("yareta-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = count(&root);
        let _ = fs::remove_dir_all(root);
        found
    }

    #[test]
    fn lists() {
        let list = |text| parse_list(text).map(Vec::from_iter);
        assert_eq!(list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "3-1", "0-99999999999", "1,,2", "-1"] {
            assert_eq!(list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn cores_of_each_kind_of_machine() {
        assert_eq!(devices("none", &[]), None);
        assert_eq!(devices("flat", &[("system/cpu/online", "0-5\n")]), Some(6));
        let siblings = |cpu: usize| format!("system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let (s0, s1, s2, s3) = (siblings(0), siblings(1), siblings(2), siblings(3));
        let smt = [
            ("system/cpu/online", "0-3"),
            (&*s0, "0,2"),
            (&*s1, "1,3"),
            (&*s2, "0,2"),
            (&*s3, "1,3"),
        ];
        assert_eq!(devices("smt", &smt), Some(2));
        let hybrid = [
            ("system/cpu/online", "0-5"),
            ("cpu_core/cpus", "0-3"),
            (&*s0, "0-1"),
            (&*s1, "0-1"),
            (&*s2, "2-3"),
            (&*s3, "2-3"),
        ];
        assert_eq!(devices("hybrid", &hybrid), Some(2));
        let arm = [
            ("system/cpu/online", "0-3"),
            ("system/cpu/cpu0/cpu_capacity", "250"),
            ("system/cpu/cpu1/cpu_capacity", "250"),
            ("system/cpu/cpu2/cpu_capacity", "1024"),
            ("system/cpu/cpu3/cpu_capacity", "900"),
        ];
        assert_eq!(devices("arm", &arm), Some(2));
    }
}
