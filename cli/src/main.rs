//! The program `yareta`: thin commands over the public interface of the library.

fn main() {
    println!("yareta {}", env!("CARGO_PKG_VERSION"));
}
