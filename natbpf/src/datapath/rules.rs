//! Replacing the rules while traffic flows.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::Key;
use natbpf_common::config::{ExceptKey, Rule, SourceKey};

use super::Tables;

impl Tables {
    /// Puts these rules in the place of those in the datapath. `sources` and `excepts` go with the lengths of
    /// their prefixes.
    ///
    /// At no moment does a source that is masqueraded before and after go untranslated, nor has a rule
    /// exceptions that are not its own: the new rules get numbers that are not in use, then their exceptions
    /// are written, then the sources are pointed at them, and what is left of the old goes last.
    pub fn replace_rules(
        &mut self,
        sources: &[(u32, SourceKey, Rule)],
        excepts: &[(u32, ExceptKey)],
    ) -> Result<()> {
        let old_sources: Vec<Key<SourceKey>> =
            self.sources.keys().collect::<Result<_, _>>().context("cannot read the rules")?;
        let old_excepts: Vec<Key<ExceptKey>> =
            self.excepts.keys().collect::<Result<_, _>>().context("cannot read the exceptions")?;
        let base = self.free_number(&old_sources, &old_excepts)?;
        for (length, key) in excepts {
            let key = ExceptKey { rule: base.wrapping_add(key.rule), ..*key };
            self.excepts
                .insert(&Key::new(*length, key), 0, 0)
                .context("cannot write an exception; there is room for 4096, old and new together")?;
        }
        let mut kept = HashSet::new();
        for (length, key, rule) in sources {
            let rule = Rule { id: base.wrapping_add(rule.id), ..*rule };
            self.sources
                .insert(&Key::new(*length, *key), rule, 0)
                .context("cannot write a rule; there is room for 4096 sources")?;
            kept.insert((*length, key.uplink, key.source));
        }
        for old in old_sources {
            let (length, key) = (old.prefix_len(), old.data());
            if !kept.contains(&(length, key.uplink, key.source)) {
                self.sources.remove(&old).context("cannot remove a rule")?;
            }
        }
        for old in old_excepts {
            self.excepts.remove(&old).context("cannot remove an exception")?;
        }
        Ok(())
    }

    /// A number above those in use.
    fn free_number(&self, sources: &[Key<SourceKey>], excepts: &[Key<ExceptKey>]) -> Result<u32> {
        let mut highest = excepts.iter().map(|key| key.data().rule).max();
        for key in sources {
            let rule = self.sources.get(key, 0).context("cannot read a rule")?;
            highest = highest.max(Some(rule.id));
        }
        Ok(highest.map_or(0, |highest| highest.wrapping_add(1)))
    }
}
