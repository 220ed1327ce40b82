//! The table: what a client's certificate may be, what the sidecar may ask for, and which of all the
//! combinations are tried.

use std::collections::BTreeSet;
use std::fmt;

use lasthop_contract::client_policy::ClientEku;
use lasthop_tests::pki::Key;
use rcgen::ExtendedKeyUsagePurpose as Usage;

/// The kinds of keys.
pub(crate) const KEYS: [Key; 6] =
    [Key::P256, Key::P384, Key::Ed25519, Key::Rsa2048, Key::Rsa3072, Key::Rsa4096];

/// What is sent, and how it leads to the trusted root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chain {
    /// The leaf, which the root issued.
    Direct,
    /// The leaf and the intermediate that issued it.
    Intermediate,
    /// Two intermediates.
    Two,
    /// Two intermediates, the upper one first.
    WrongOrder,
    /// An intermediate and the root, which nobody needs.
    ExtraRoot,
    /// An intermediate, after one that has nothing to do with it.
    Strangers,
    /// The leaf without the intermediate that issued it.
    Missing,
    /// Two intermediates of which the upper one is missing.
    HalfMissing,
    /// An intermediate that may issue for servers only.
    ForServers,
    /// An intermediate whose time is over.
    Expired,
    /// Two intermediates of which the upper one may not issue the lower one.
    TooLong,
    /// A certificate that is no CA in the place of the intermediate.
    NoAuthority,
    /// A leaf of another CA, with the trusted root behind it.
    Other,
    /// A leaf of a CA that has the trusted one's name and not its key.
    Impostor,
    /// A leaf that nobody issued.
    SelfSigned,
}

pub(crate) const CHAINS: [Chain; 15] = [
    Chain::Direct,
    Chain::Intermediate,
    Chain::Two,
    Chain::WrongOrder,
    Chain::ExtraRoot,
    Chain::Strangers,
    Chain::Missing,
    Chain::HalfMissing,
    Chain::ForServers,
    Chain::Expired,
    Chain::TooLong,
    Chain::NoAuthority,
    Chain::Other,
    Chain::Impostor,
    Chain::SelfSigned,
];

impl Chain {
    /// Whether it leads over any intermediate, of which the root's list says whether it was revoked, and
    /// nothing of what it issued.
    pub(crate) fn has_intermediate(self) -> bool {
        let others = [Self::ForServers, Self::Expired, Self::TooLong, Self::NoAuthority];
        self.has_common_intermediate() || others.contains(&self)
    }

    /// Whether it leads over the intermediate that some rows have revoked.
    pub(crate) fn has_common_intermediate(self) -> bool {
        match self {
            Self::Intermediate
            | Self::Two
            | Self::WrongOrder
            | Self::ExtraRoot
            | Self::Strangers => true,
            Self::Direct
            | Self::Missing
            | Self::HalfMissing
            | Self::ForServers
            | Self::Expired
            | Self::TooLong
            | Self::NoAuthority
            | Self::Other
            | Self::Impostor
            | Self::SelfSigned => false,
        }
    }
}

/// Sets of extended key usages; none leaves the extension out.
pub(crate) const USAGES: [&[Usage]; 8] = [
    &[Usage::ServerAuth, Usage::ClientAuth],
    &[],
    &[Usage::ServerAuth],
    &[Usage::ClientAuth],
    &[Usage::Any],
    &[Usage::CodeSigning],
    &[Usage::CodeSigning, Usage::ClientAuth],
    &[Usage::EmailProtection, Usage::TimeStamping],
];

/// A name in a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum San {
    Dns(&'static str),
    Uri(&'static str),
    Ip([u8; 4]),
    Email(&'static str),
}

/// Who a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) common_name: &'static str,
    pub(crate) names: &'static [San],
    /// What of it is allowed besides its names.
    pub(crate) pinned: Pinned,
    pub(crate) is_allowed: bool,
}

/// What is allowed of a certificate that has no allowed name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pinned {
    Nothing,
    /// `sha256:` of the certificate; all others with its key, and there are many, stay out.
    Certificate,
    /// `spki:` of its key, which no other row has.
    Key,
}

const fn who(common_name: &'static str, names: &'static [San], is_allowed: bool) -> Who {
    Who { common_name, names, pinned: Pinned::Nothing, is_allowed }
}

const fn pinned(pinned: Pinned) -> Who {
    Who { common_name: "leaf", names: &[San::Dns("pinned.example")], pinned, is_allowed: true }
}

/// The names that the sidecar of the table allows.
pub(crate) const ALLOWED: &str = "dns:a.example,dns:*.a.example,dns:*.w.example,\
     uri:spiffe://x/ns/y,ip:10.0.0.1,email:me@a.example,cn:old";

/// By the rules of `lasthop.dev/allowed-clients`.
pub(crate) const NAMES: [Who; 20] = [
    who("leaf", &[San::Dns("a.example")], true),
    who("leaf", &[San::Dns("A.EXAMPLE")], true),
    who("leaf", &[San::Dns("x.a.example")], true),
    who("leaf", &[San::Dns("y.x.a.example")], false), // `*` is one label
    who("leaf", &[San::Dns("*.example")], false), // a wildcard of the certificate covers nothing
    who("leaf", &[San::Dns("*.w.example")], true), // and is a name like any other
    who("leaf", &[San::Dns("b.example"), San::Dns("a.example")], true),
    who("leaf", &[San::Dns("b.example")], false),
    who("leaf", &[San::Uri("spiffe://x/ns/y")], true),
    who("leaf", &[San::Uri("spiffe://x/ns/y/z")], false),
    who("leaf", &[San::Ip([10, 0, 0, 1])], true),
    who("leaf", &[San::Ip([10, 0, 0, 2])], false),
    who("leaf", &[San::Email("me@a.example")], true),
    who("leaf", &[San::Email("you@a.example")], false),
    who("old", &[], true),
    who("a.example", &[], false),                // a CN is no DNS name
    who("old", &[San::Dns("b.example")], false), // who has names is not known by the CN
    pinned(Pinned::Certificate),
    pinned(Pinned::Key),
    who("leaf", &[San::Dns("pinned.example")], false), // the name is not what was pinned
];

/// When a certificate is valid, in days from now.
pub(crate) const TIMES: [(i64, i64); 3] = [(-1, 30), (-30, -1), (1, 30)];

/// What its CA took back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Revoked {
    Nothing,
    Leaf,
    Intermediate,
}

pub(crate) const REVOKED: [Revoked; 3] = [Revoked::Nothing, Revoked::Leaf, Revoked::Intermediate];

pub(crate) const EKUS: [ClientEku; 3] = [ClientEku::Either, ClientEku::Client, ClientEku::Server];

/// Which revocation lists the sidecar has, of every CA in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lists {
    None,
    Current,
    /// Lists whose time is over, which it goes on with.
    OldAccepted,
    /// Such lists, without which nobody comes in.
    OldRefused,
    /// Current ones, in which only the client's own certificate is looked for.
    LeafAlone,
    /// The root's alone, and whoever no list is about is refused.
    RootsAlone,
}

pub(crate) const LISTS: [Lists; 6] = [
    Lists::None,
    Lists::Current,
    Lists::OldAccepted,
    Lists::OldRefused,
    Lists::LeafAlone,
    Lists::RootsAlone,
];

/// What the sidecar trusts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trust {
    /// The root.
    Root,
    /// The root, after that of [`Chain::Other`].
    Two,
    /// The intermediate of [`Chain::Intermediate`], and nothing above it.
    Below,
    /// The root, after that of [`Chain::Impostor`]: to this sidecar it is the same CA with a new key.
    Renewed,
    /// The root of [`Chain::Other`] alone.
    Foreign,
}

pub(crate) const TRUSTS: [Trust; 5] =
    [Trust::Root, Trust::Two, Trust::Below, Trust::Renewed, Trust::Foreign];

/// How many columns there are.
const COLUMNS: usize = 9;

/// How many choices there are in each column.
const SIZES: [usize; COLUMNS] = [
    KEYS.len(),
    CHAINS.len(),
    USAGES.len(),
    NAMES.len(),
    TIMES.len(),
    REVOKED.len(),
    EKUS.len(),
    LISTS.len(),
    TRUSTS.len(),
];

/// One client and the listener that it comes to, as a choice in each column.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Row([usize; COLUMNS]);

impl Row {
    /// The place in [`KEYS`].
    pub(crate) fn key(self) -> usize {
        self.0[0]
    }

    pub(crate) fn chain(self) -> Chain {
        CHAINS[self.0[1]]
    }

    pub(crate) fn usages(self) -> &'static [Usage] {
        USAGES[self.0[2]]
    }

    pub(crate) fn who(self) -> Who {
        NAMES[self.0[3]]
    }

    pub(crate) fn time(self) -> (i64, i64) {
        TIMES[self.0[4]]
    }

    pub(crate) fn revoked(self) -> Revoked {
        REVOKED[self.0[5]]
    }

    pub(crate) fn eku(self) -> ClientEku {
        EKUS[self.0[6]]
    }

    pub(crate) fn lists(self) -> Lists {
        LISTS[self.0[7]]
    }

    pub(crate) fn trust(self) -> Trust {
        TRUSTS[self.0[8]]
    }

    /// The sidecar that it comes to: one for each of [`TRUSTS`].
    pub(crate) fn sidecar(self) -> usize {
        self.0[8]
    }

    /// The sidecar's listener: one for each thing that it may ask for, in the order of [`listeners`].
    pub(crate) fn listener(self) -> usize {
        self.0[6] * LISTS.len() + self.0[7]
    }
}

/// What each listener of a sidecar asks for.
pub(crate) fn listeners() -> impl Iterator<Item = (ClientEku, Lists)> {
    EKUS.iter().flat_map(|eku| LISTS.iter().map(move |lists| (*eku, *lists)))
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} {:?} {:?} pinned {:?} {:?} revoked {:?}, client-eku {}, lists {:?}, trust {:?}",
            KEYS[self.key()],
            self.chain(),
            self.usages(),
            self.who().names,
            self.who().pinned,
            self.time(),
            self.revoked(),
            self.eku().word(),
            self.lists(),
            self.trust()
        )
    }
}

/// Every choice of every column beside choices that are right: the most usual ones, and others.
pub(crate) fn one_at_a_time() -> (BTreeSet<Row>, BTreeSet<Row>) {
    let beside = |base: [usize; COLUMNS]| {
        SIZES.iter().enumerate().flat_map(move |(column, size)| {
            (0..*size).map(move |choice| {
                let mut row = base;
                row[column] = choice;
                Row(row)
            })
        })
    };
    let other = [
        [3, 2, 1, 8, 0, 0, 1, 1, 1], // RSA, two intermediates, no usages, a URI, current lists
        [2, 3, 2, 14, 0, 0, 2, 2, 2], // Ed25519, in the wrong order, a CN alone, old lists
    ];
    let other = other.into_iter().flat_map(beside).chain(of_renewed_ca());
    (beside([0; COLUMNS]).collect(), other.collect())
}

/// Clients of the new key of a CA, revoked or not, beside all that its lists may be.
fn of_renewed_ca() -> impl Iterator<Item = Row> {
    let impostor = CHAINS.iter().position(|chain| *chain == Chain::Impostor).unwrap_or_default();
    let renewed = TRUSTS.iter().position(|trust| *trust == Trust::Renewed).unwrap_or_default();
    (0..REVOKED.len()).flat_map(move |revoked| {
        (0..LISTS.len()).map(move |lists| Row([0, impostor, 0, 0, 0, revoked, 0, lists, renewed]))
    })
}

/// Every choice beside every choice of any other column, in as few rows as a greedy search finds.
pub(crate) fn two_at_a_time() -> Vec<Row> {
    let mut open: BTreeSet<Pair> = BTreeSet::new();
    for (left, right) in columns() {
        for (one, other) in (0..SIZES[left]).flat_map(|it| (0..SIZES[right]).map(move |x| (it, x)))
        {
            open.insert(((left, one), (right, other)));
        }
    }
    let mut rows = Vec::new();
    while let Some(((left, one), (right, other))) = open.first().copied() {
        let mut row = [None; COLUMNS];
        (row[left], row[right]) = (Some(one), Some(other));
        for column in 0..SIZES.len() {
            if row[column].is_none() {
                row[column] = Some(best(&open, &row, column, rows.len()));
            }
        }
        let row = row.map(Option::unwrap_or_default);
        for (left, right) in columns() {
            open.remove(&((left, row[left]), (right, row[right])));
        }
        rows.push(Row(row));
    }
    rows
}

/// A choice in one column and a choice in a later one.
type Pair = ((usize, usize), (usize, usize));

fn columns() -> impl Iterator<Item = (usize, usize)> {
    (0..SIZES.len()).flat_map(|left| (left + 1..SIZES.len()).map(move |right| (left, right)))
}

/// The choice of `column` that meets the most choices it has not met; among equals another one each
/// time.
fn best(
    open: &BTreeSet<Pair>,
    row: &[Option<usize>; COLUMNS],
    column: usize,
    turn: usize,
) -> usize {
    let meets = |choice: usize| {
        let is_open = |(other, chosen): &(usize, &Option<usize>)| {
            let (own, met) = ((column, choice), (*other, chosen.unwrap_or(usize::MAX)));
            open.contains(&if column < *other { (own, met) } else { (met, own) })
        };
        row.iter().enumerate().filter(is_open).count()
    };
    let choices = (0..SIZES[column]).map(|choice| (choice + turn) % SIZES[column]);
    choices.max_by_key(|choice| meets(*choice)).unwrap_or_default()
}
