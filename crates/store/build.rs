//! The migrations are part of the program: a new file makes it compile anew.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
