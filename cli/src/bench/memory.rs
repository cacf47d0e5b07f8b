//! How much memory this process holds, as the system counts it.

use serde_json::json;

/// Bytes of this process that are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of them.
    pub total: u64,
    /// The most that there have ever been.
    pub peak: u64,
    /// Pages of mapped files, which the system can give to others at any time and shares between
    /// processes: the weights.
    pub file: u64,
    /// Pages of the process's own: caches, buffers.
    pub own: u64,
}

impl Resident {
    /// What the process holds now; `None` where the system does not say.
    pub fn now() -> Option<Resident> {
        Resident::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Reads Linux's `/proc/self/status` (proc_pid_status(5)).
    fn parse(status: &str) -> Option<Resident> {
        let field = |name: &str| {
            let mut lines = status.lines();
            let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kibibytes.checked_mul(1024)
        };
        Some(Resident {
            total: field("VmRSS")?,
            peak: field("VmHWM")?,
            file: field("RssFile")?,
            own: field("RssAnon")?,
        })
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "resident_bytes": self.total,
            "peak_bytes": self.peak,
            "file_bytes": self.file,
            "own_bytes": self.own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let status = "Name:\tyareta\nVmHWM:\t  2000 kB\nVmRSS:\t    1500 kB\nRssAnon:\t 500 kB\n\
                      RssFile:\t    1000 kB\nRssShmem:\t       0 kB\n";
        let expected = Resident {
            total: 1500 * 1024,
            peak: 2000 * 1024,
            file: 1000 * 1024,
            own: 500 * 1024,
        };
        assert_eq!(Resident::parse(status), Some(expected));
        assert_eq!(Resident::parse("VmRSS: lots"), None);
    }
}
