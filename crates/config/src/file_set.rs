//! Parsed files as one value.

use std::path::Path;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

/// Where a file stands: the number of the pattern that names it first, and its path.
pub type FilePlace = (usize, Arc<Path>);

/// Files with what each was parsed to, in the order of the patterns that name them, and for each pattern in that of their paths.
///
/// A copy takes no time, and two sets of which one came from the other are compared in the time that their differences take. A parse is
/// told from another by its address, so whoever wants one to count as unchanged hands over the same.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSet<T>(OrdMap<FilePlace, Parse<T>>);

#[derive(Debug)]
struct Parse<T>(Arc<T>);

impl<T> Clone for Parse<T> {
    fn clone(&self) -> Self {
        Parse(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Parse<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A place at which two sets differ, and what each has there.
#[derive(Debug)]
pub struct FileChange<'a, T> {
    /// The place.
    pub place: &'a FilePlace,
    /// What was there.
    pub before: Option<&'a Arc<T>>,
    /// What is there.
    pub after: Option<&'a Arc<T>>,
}

impl<T> Default for FileSet<T> {
    fn default() -> Self {
        FileSet(OrdMap::new())
    }
}

impl<T> FileSet<T> {
    /// Puts `file` at `place`; gives what stood there.
    pub fn insert(&mut self, place: FilePlace, file: Arc<T>) -> Option<Arc<T>> {
        self.0.insert(place, Parse(file)).map(|before| before.0)
    }

    /// Takes out what stands at `place`.
    pub fn remove(&mut self, place: &FilePlace) -> Option<Arc<T>> {
        self.0.remove(place).map(|before| before.0)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Path and parse of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Path>, &Arc<T>)> {
        self.placed().map(|((_, path), file)| (path, file))
    }

    /// Place and parse of each, in order.
    pub fn placed(&self) -> impl Iterator<Item = (&FilePlace, &Arc<T>)> {
        self.0.iter().map(|(place, file)| (place, &file.0))
    }

    /// Where `after` differs from `self`, in order.
    pub fn changes<'a>(&'a self, after: &'a FileSet<T>) -> impl Iterator<Item = FileChange<'a, T>> {
        self.0.diff(&after.0).map(|item| match item {
            DiffItem::Add(place, file) => FileChange { place, before: None, after: Some(&file.0) },
            DiffItem::Update { old: (_, before), new: (place, after) } => {
                FileChange { place, before: Some(&before.0), after: Some(&after.0) }
            }
            DiffItem::Remove(place, file) => FileChange { place, before: Some(&file.0), after: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pattern: usize, path: &str) -> FilePlace {
        (pattern, Path::new(path).into())
    }

    #[test]
    fn only_what_differs_is_told() {
        let mut before = FileSet::default();
        for (pattern, path, file) in [(0, "b", 1), (0, "a", 2), (1, "a", 3)] {
            before.insert(place(pattern, path), Arc::new(file));
        }
        let order: Vec<_> = before.iter().map(|(path, file)| (path.to_str().unwrap(), **file)).collect();
        assert_eq!(order, [("a", 2), ("b", 1), ("a", 3)]);
        let mut after = before.clone();
        assert_eq!(before.changes(&after).count(), 0);
        after.remove(&place(0, "a"));
        // Another parse, though it says the same.
        after.insert(place(0, "b"), Arc::new(1));
        after.insert(place(2, "c"), Arc::new(4));
        let changes = before
            .changes(&after)
            .map(|change| (change.place.clone(), change.before.map(|file| **file), change.after.map(|file| **file)));
        let expected =
            [(place(0, "a"), Some(2), None), (place(0, "b"), Some(1), Some(1)), (place(2, "c"), None, Some(4))];
        assert_eq!(changes.collect::<Vec<_>>(), expected);
    }
}
