//! Serves the door over a platform in memory: `cargo run -p fleuve-pgwire --example memory_server -- 127.0.0.1:5499`

mod memory;

use fleuve_pgwire::{PgOptions, PgServer};

#[tokio::main]
async fn main() -> Result<(), fleuve_types::Error> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_string());
    let server = PgServer::bind(PgOptions { listen, ..PgOptions::default() }, memory::Memory::new()).await?;
    println!("psql -h {} -p {} main", server.local_addr().ip(), server.local_addr().port());
    server.run(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
