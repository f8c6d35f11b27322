//! Runs Prometheus' own acceptance scripts (load/eval notation) against the engine, on series in memory.
//!
//! The scripts are taken from `$RELATUM_CORPORA/conformance/promql`; without that variable only our own in `tests/scripts/promql`
//! are run. Each evaluation is also made in the other ways that must not change its result: an instant query as the middle step of a range, and with `@`
//! on every selector at other moments.

mod check;
mod nhcb;
mod run;
mod script;

use std::path::Path;

use libtest_mimic::Trial;
use relatum_promql::memory::Memory;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let own = Trial::test("own_scripts", || {
        run::scripts::<Memory>(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scripts/promql")), 1, &[]);
        Ok(())
    });
    let name = "acceptance_scripts";
    let acceptance = match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            run::scripts::<Memory>(&Path::new(&corpora).join("conformance/promql"), run::EVALUATIONS_MIN, &[]);
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    };
    libtest_mimic::run(&arguments, vec![own, acceptance]).exit();
}
