//! What this process takes of its machine.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the process takes; nothing where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUse {
    pub cpu_seconds: f64,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub open_descriptors: Option<u64>,
    pub most_descriptors: Option<u64>,
}

impl ProcessUse {
    pub fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        // In pages: the whole, then what is resident (proc_pid_statm(5)).
        let page = rustix::param::page_size() as u64;
        let mut sizes = pages.split_whitespace().map(|pages| Some(pages.parse::<u64>().ok()? * page));
        let (virtual_bytes, resident_bytes) = (sizes.next().flatten(), sizes.next().flatten());
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes,
            virtual_bytes,
            // One of them is the folder that is read here.
            open_descriptors: fs::read_dir("/proc/self/fd").ok().map(|open| (open.count() as u64).saturating_sub(1)),
            most_descriptors: getrlimit(Resource::Nofile).current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_takes() {
        let before = ProcessUse::now();
        let file = fs::File::open("/proc/self/statm").unwrap();
        let now = ProcessUse::now();
        drop(file);
        assert!(now.cpu_seconds >= before.cpu_seconds && now.cpu_seconds > 0.0);
        assert!(now.resident_bytes.unwrap() > 1 << 20 && now.virtual_bytes > now.resident_bytes);
        assert!(now.open_descriptors.unwrap() > 3 && now.most_descriptors.unwrap() >= now.open_descriptors.unwrap());
    }
}
