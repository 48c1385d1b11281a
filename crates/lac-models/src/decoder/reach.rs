//! How far back layers attend, and what differs by it.

/// How far back a layer attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To all earlier keys.
    Full,
    /// To those of the sliding window.
    Sliding,
}

/// Something that differs by how far back layers attend.
#[derive(Clone, Debug)]
pub(super) struct PerReach<T> {
    pub(super) full: T,
    /// `None` where it is that of the other layers.
    pub(super) sliding: Option<T>,
}

impl<T> PerReach<T> {
    pub(super) fn get(&self, reach: Reach) -> &T {
        match (reach, &self.sliding) {
            (Reach::Sliding, Some(sliding)) => sliding,
            _ => &self.full,
        }
    }

    pub(super) fn map<U>(&self, function: impl Fn(&T) -> U) -> PerReach<U> {
        PerReach {
            full: function(&self.full),
            sliding: self.sliding.as_ref().map(function),
        }
    }
}
