//! Who may connect to the control socket.

use nix::unistd::{Group, Uid, User};
use tokio::net::UnixStream;

/// Members of this group may connect.
pub(super) const GROUP: &str = "relatum";

/// Whoever opened a connection, as the kernel tells.
#[derive(Debug, Clone, Default)]
struct Peer {
    uid: u32,
    gid: u32,
    /// The user's name; none if the system knows no such user.
    name: Option<String>,
}

/// Whoever sent a request, as the history names its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller(pub(super) String);

/// The user at the other end of `stream`; by number where the system knows no name.
pub(super) fn caller(stream: &UnixStream) -> Caller {
    let Ok(credentials) = stream.peer_cred() else { return Caller("user unknown".to_owned()) };
    let user = User::from_uid(Uid::from_raw(credentials.uid())).ok().flatten();
    Caller(format!("user {}", user.map_or_else(|| credentials.uid().to_string(), |user| user.name)))
}

/// Whether a request comes from root or the agent's own user, who may have it write files where they say.
#[derive(Debug, Clone, Copy)]
pub(super) struct IsOwner(pub(super) bool);

/// Tells it of the user at the other end of `stream`.
pub(super) fn is_owner(stream: &UnixStream) -> IsOwner {
    let own = nix::unistd::geteuid().as_raw();
    IsOwner(stream.peer_cred().is_ok_and(|credentials| owns(credentials.uid(), own)))
}

/// Whether the user `uid` may do whatever the agent of the user `own` may.
fn owns(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

/// Whom the agent knows.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The agent's own user.
    uid: u32,
    /// The group's number and the names of its members; none if there is no such group.
    group: Option<(u32, Vec<String>)>,
}

/// Root, the agent's own user, and members of the group: the mode of the socket says the same, but a directory may be shared
/// in ways it cannot know.
pub(super) fn may_connect(stream: &UnixStream) -> bool {
    let Ok(credentials) = stream.peer_cred() else { return false };
    let uid = Uid::from_raw(credentials.uid());
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let group = Group::from_name(GROUP).ok().flatten().map(|group| (group.gid.as_raw(), group.mem));
    let known = Known { uid: nix::unistd::geteuid().as_raw(), group };
    is_known(&Peer { uid: credentials.uid(), gid: credentials.gid(), name }, &known)
}

fn is_known(peer: &Peer, known: &Known) -> bool {
    if owns(peer.uid, known.uid) {
        return true;
    }
    let Some((gid, members)) = &known.group else { return false };
    *gid == peer.gid || peer.name.as_ref().is_some_and(|name| members.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let group = Some((50, vec!["ann".to_owned(), "bob".to_owned()]));
        let cases = [
            ("root", (0, 0, Some("root")), &group, true),
            ("the agent's own user", (7, 7, Some("relatum")), &group, true),
            ("its own user without a name", (7, 7, None), &None, true),
            ("a member by list", (100, 100, Some("ann")), &group, true),
            ("a member by primary group", (101, 50, Some("eve")), &group, true),
            ("anybody else", (101, 100, Some("eve")), &group, false),
            ("a user without a name", (101, 100, None), &group, false),
            ("a member where there is no group", (100, 100, Some("ann")), &None, false),
            ("group root is not root", (101, 0, Some("eve")), &group, false),
        ];
        let owners = ["root", "the agent's own user", "its own user without a name"];
        for (who, (uid, gid, name), group, expected) in cases {
            // Members of the group may connect, and no more.
            assert_eq!(owns(uid, 7), owners.contains(&who), "{who}");
            let peer = Peer { uid, gid, name: name.map(str::to_owned) };
            assert_eq!(is_known(&peer, &Known { uid: 7, group: group.clone() }), expected, "{who}");
        }
    }
}
