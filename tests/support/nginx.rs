//! nginx, on a free port.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use super::gatherd::Running;
use super::{LIMIT, comes_true_within, skip};

/// It ends when this is dropped.
pub(crate) struct Nginx {
    _process: Running,
    _folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// With these directives in its `http` block, and in its `server` block. Nothing if it is not installed, which is
    /// said.
    pub(crate) fn start(http: &str, server: &str) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            skip("nginx is not installed; tests/run installs it");
            return None;
        }
        // It cannot choose a free port by itself, and another program may take the one that was found.
        (0..5).find_map(|_| Self::try_start(http, server))
    }

    fn try_start(http: &str, server: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            r#"
            daemon off; master_process off; pid nginx.pid; error_log stderr;
            events {{}}
            http {{
                include /etc/nginx/mime.types;
                default_type application/octet-stream;
                client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
                access_log off; sendfile on; keepalive_requests 100;
                {http}
                server {{ listen {address}; {server} }}
            }}
            "#
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut process = Running::start(command);
        let connects = || TcpStream::connect(address).is_ok();
        let started = comes_true_within(LIMIT, || connects() || process.is_over());
        (started && !process.is_over()).then_some(Self { _process: process, _folder: folder, address })
    }
}
