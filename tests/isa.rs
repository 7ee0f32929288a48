//! Which kernels these tests ran on, and what `IM2COL_ISA` does to the choice.

use im2col::testing::isas;
use im2col::{Conv1d, Isa};
use std::process::Command;

/// Tests run on the ISAs that the machine has: so that none is left out unseen, the variable
/// `IM2COL_REQUIRE_ISA` names those that have to be there, `avx512,avx2,portable`.
#[test]
fn required_isas_are_there() {
    let used: Vec<_> = isas().map(Isa::name).collect();
    println!("tested on {used:?}");
    assert!(used.contains(&"portable"));
    let required = std::env::var("IM2COL_REQUIRE_ISA").unwrap_or_default();
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        assert!(used.contains(&name), "{name} is required, this machine has {used:?}");
    }
}

/// On a machine of which somebody knows what it has, such as an emulator's, `IM2COL_EXPECT_ISA` is the
/// name of what a plan has to be made of when nobody asks for anything.
#[test]
fn the_best_isa_is_the_expected_one() {
    let plan = Conv1d::<f32>::new([1, 1, 8], [1, 1, 3]).plan().unwrap();
    println!("plans use {}", plan.isa());
    assert_eq!(plan.isa(), Isa::best());
    if let Ok(expected) = std::env::var("IM2COL_EXPECT_ISA") {
        assert_eq!(plan.isa().name(), expected, "with IM2COL_EXPECT_ISA");
    }
}

/// The variable that makes this test say which ISA is best: the choice is made once a process.
const SAY: &str = "IM2COL_TEST_SAY_BEST";

#[test]
fn im2col_isa_lowers_the_best() {
    if std::env::var_os(SAY).is_some() {
        println!("best is {}.", Isa::best());
        let conv = Conv1d::<f32>::new([1, 1, 8], [1, 1, 3]);
        println!("{}", conv.plan().unwrap().explain());
        // Nothing is to be said of it where the program chooses.
        assert!(!conv.isa(Isa::Portable).plan().unwrap().explain().contains("IM2COL_ISA"));
        return;
    }
    // What a child says of the best ISA, and of the variable.
    let best_with = |asked: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "im2col_isa_lowers_the_best", "--nocapture"]).env(SAY, "1");
        child.env_remove("IM2COL_ISA").envs(asked.map(|name| ("IM2COL_ISA", name)));
        let output = child.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let name = text.split("best is ").nth(1).and_then(|rest| rest.split('.').next());
        let name = name.unwrap_or_else(|| panic!("no ISA in {text}")).to_owned();
        (name, text.lines().find(|line| line.contains("IM2COL_ISA")).unwrap_or("").to_owned())
    };
    let said = |isa: &str, of_variable: &str| (isa.to_owned(), of_variable.to_owned());
    let machine = isas().max().expect("portable, at least").name();
    assert_eq!(best_with(None), said(machine, ""));
    assert_eq!(best_with(Some("")), said(machine, ""));
    for isa in isas() {
        assert_eq!(best_with(Some(isa.name())), said(isa.name(), ""));
    }
    let lacking = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let names: Vec<_> = isas().map(Isa::name).collect();
    for name in ["AVX2", "portable ", lacking, "best"] {
        let of_variable =
            format!("IM2COL_ISA={name:?} changes nothing: this machine has {}", names.join(" "));
        assert_eq!(best_with(Some(name)), said(machine, &of_variable));
    }
}
