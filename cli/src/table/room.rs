//! How a terminal's columns are shared among those of a table.

/// Cut shorter, a name says nothing.
const NAME_MIN: usize = 12;

/// Names and addresses of this length are shown whole as long as something else can give way.
const NAME_WHOLE: usize = 32;

/// What goes on below instead of being cut is hard to read if it is narrower.
const PROSE_MIN: usize = 16;

/// With this width it is easy.
const PROSE_EASY: usize = 40;

/// What is left to a column where nothing else helps.
const LEAST: usize = 6;

/// What a column would like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// To show all.
    pub(super) width: usize,
    /// Its title's, below which it does not go.
    pub(super) title: usize,
    /// Whether it gives room first, and goes if that is not enough.
    pub(super) is_minor: bool,
    /// Whether it may not be cut.
    pub(super) is_whole: bool,
    /// Whether it goes on below instead.
    pub(super) flows: bool,
    /// Whether there is nothing in it.
    pub(super) is_empty: bool,
}

/// The least widths of what is cut, of what says little, and of what goes on below.
#[derive(Debug, Clone, Copy)]
struct Floors {
    name: usize,
    minor: usize,
    prose: usize,
}

/// From what costs nothing to what makes a table hard to read.
const FLOORS: [Floors; 4] = [
    Floors { name: NAME_WHOLE, minor: NAME_WHOLE, prose: PROSE_EASY },
    COMFORTABLE,
    Floors { name: NAME_MIN, minor: NAME_MIN, prose: PROSE_MIN },
    Floors { name: LEAST, minor: LEAST, prose: LEAST },
];

/// Before it comes to less, columns go.
const COMFORTABLE: Floors = Floors { name: NAME_WHOLE, minor: NAME_MIN, prose: PROSE_MIN };

/// As [`share`]; prose that would be narrower than is easy to read gets no width: those columns hang below their rows.
pub(super) fn share_or_hang(wishes: &[Wish], room: usize, gap: usize) -> (Vec<Option<usize>>, Vec<usize>) {
    let widths = share(wishes, room, gap);
    let (first, last) = (widths.iter().position(Option::is_some), widths.iter().rposition(Option::is_some));
    let hangs = |at: usize| {
        let is_prose = (wishes[at].flows || Some(at) == last) && !wishes[at].is_whole;
        is_prose && Some(at) != first && widths[at].is_some_and(|width| width < wishes[at].width.min(PROSE_EASY))
    };
    let (hanging, beside): (Vec<usize>, Vec<usize>) = (0..wishes.len()).partition(|at| hangs(*at));
    if hanging.is_empty() {
        return (widths, hanging);
    }
    let others: Vec<Wish> = beside.iter().map(|at| wishes[*at]).collect();
    let mut widths = vec![None; wishes.len()];
    for (at, width) in beside.into_iter().zip(share(&others, room, gap)) {
        widths[at] = width;
    }
    (widths, hanging)
}

/// The width of each column so that all of them fit into `room`, with `gap` between two; none for a column that goes. Where even the
/// least is too much, that is given.
fn share(wishes: &[Wish], room: usize, gap: usize) -> Vec<Option<usize>> {
    let mut kept: Vec<bool> = vec![true; wishes.len()];
    let fits = |kept: &[bool], floors: Floors| total(&least(wishes, kept, floors), gap) <= room;
    let natural: Vec<Option<usize>> = wishes.iter().map(|wish| Some(wish.width)).collect();
    if total(&natural, gap) <= room {
        return natural;
    }
    if wishes.iter().any(|wish| !wish.is_empty) {
        kept = wishes.iter().map(|wish| !wish.is_empty).collect();
    }
    while !fits(&kept, COMFORTABLE) {
        let least = least(wishes, &kept, COMFORTABLE);
        let minor = (0..wishes.len()).filter(|at| kept[*at] && wishes[*at].is_minor);
        let Some(widest) = minor.max_by_key(|at| least[*at]) else { break };
        kept[widest] = false;
    }
    let floors = FLOORS.into_iter().find(|floors| fits(&kept, *floors)).unwrap_or(FLOORS[FLOORS.len() - 1]);
    let least = least(wishes, &kept, floors);
    let last = kept.iter().rposition(|kept| *kept);
    let mut widths: Vec<Option<usize>> =
        wishes.iter().zip(&kept).map(|(wish, kept)| kept.then_some(wish.width)).collect();
    while total(&widths, gap) > room {
        let can_give = |at: &usize| widths[*at] > least[*at];
        // What is minor gives first, then what loses nothing by it or is very long.
        let rank = |at: &usize| {
            let gives_lightly = wishes[*at].flows || Some(*at) == last || widths[*at] > Some(NAME_WHOLE);
            (wishes[*at].is_minor, gives_lightly, widths[*at])
        };
        let Some(widest) = (0..wishes.len()).filter(can_give).max_by_key(rank) else { break };
        widths[widest] = widths[widest].map(|width| width - 1);
    }
    widths
}

fn total(widths: &[Option<usize>], gap: usize) -> usize {
    widths.iter().flatten().map(|width| width + gap).sum::<usize>().saturating_sub(gap)
}

fn least(wishes: &[Wish], kept: &[bool], floors: Floors) -> Vec<Option<usize>> {
    let last = kept.iter().rposition(|kept| *kept);
    let of = |at: usize, wish: &Wish| match wish {
        wish if wish.is_whole => wish.width,
        wish => {
            let name = if wish.is_minor { floors.minor } else { floors.name };
            let floor = if wish.flows || Some(at) == last { floors.prose } else { name };
            wish.width.min(floor.max(wish.title))
        }
    };
    wishes.iter().enumerate().map(|(at, wish)| kept[at].then(|| of(at, wish))).collect()
}
