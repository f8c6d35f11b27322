//! `relatum render`

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::faint;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print secrets as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Prints the files that configure the server, as they are on disk.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let rendered = global.client().render(args.show_secrets).await?;
    global.format.print(&rendered, |rendered| {
        let files = rendered.files.iter().map(|file| {
            let end = if file.text.ends_with('\n') { "" } else { "\n" };
            format!("{}\n{}{end}", faint(&format!("# {}/{}", rendered.directory, file.path)), file.text)
        });
        files.collect::<Vec<_>>().join("\n")
    })
}
