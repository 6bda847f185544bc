//! `admin` in `[service]`: where people and programs may look at a daemon.

use crate::http::{ListenAddress, Token};
use crate::settings::{Rule, Section};

/// Where a daemon answers, and whom.
#[derive(Clone)]
pub struct AdminSettings {
    pub listen: ListenAddress,
    /// Asked for by every change, and by everything if other machines can reach the address.
    pub token: Option<Token>,
    /// Names by which it may be asked, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for AdminSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AdminSettings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

const ADMIN: &str = "where it answers who wants to look: /metrics, /status, /health, /ready, and a page at /";

pub(super) fn read(section: &mut Section<'_>) -> Option<AdminSettings> {
    section.table("admin", ADMIN, |section| {
        section.shorthand("listen");
        let listen = ListenAddress::read(section);
        let about = "what a request must carry that changes something, and every request from another machine";
        let token = section.table("token", about, Token::read);
        let about = "names by which it may be asked, beside addresses and localhost; such as that of a proxy before it";
        let hosts = section.or("hosts", Vec::new(), about);
        let listen = listen?;
        if !listen.is_local() && !section.has("token") {
            section.broken(
                Rule::OpenAdmin,
                "listen",
                format!("anyone who reaches `{listen}` could look at everything"),
                "add `token = \"${secret:NAME}\"`, or listen at an address of this machine alone",
            );
        }
        Some(AdminSettings { listen, token, hosts })
    })
}
