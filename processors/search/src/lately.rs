//! What was used lately, up to so many bytes of it.

use std::hash::Hash;

use lru::LruCache;

/// Values that were used lately, by their keys. Clones of a value may live on when it has gone.
#[derive(Debug)]
pub(crate) struct Lately<K: Hash + Eq, V> {
    values: LruCache<K, (V, usize)>,
    bytes: usize,
    max: usize,
}

impl<K: Hash + Eq, V: Clone> Lately<K, V> {
    /// Of at most so many bytes.
    pub(crate) fn new(max: usize) -> Self {
        Lately { values: LruCache::unbounded(), bytes: 0, max }
    }

    /// A value, if it is still here.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    /// Adds a value that takes so many bytes, for which those go that were not used for longest.
    pub(crate) fn put(&mut self, key: K, value: V, bytes: usize) {
        self.bytes += bytes;
        self.bytes -= self.values.put(key, (value, bytes)).map_or(0, |(_, before)| before);
        while self.bytes > self.max {
            let Some((_, (_, bytes))) = self.values.pop_lru() else { break };
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut lately = Lately::new(100);
        for number in 0..10 {
            lately.put(number, number, 10);
        }
        assert_eq!(lately.get(&0), Some(0));
        lately.put(10, 10, 15);
        assert_eq!((lately.get(&0), lately.get(&1), lately.get(&2), lately.get(&3)), (Some(0), None, None, Some(3)));
        lately.put(0, 7, 1);
        assert_eq!((lately.get(&0), lately.bytes), (Some(7), 86));
        lately.put(11, 11, 101);
        assert_eq!((lately.values.len(), lately.bytes), (0, 0), "what is larger than all there may be drives out all");
    }
}
