"""`chainwatch completion`: the scripts by which shells complete its command line, and the answer to such a script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from chainwatch.errors import UsageError
from chainwatch.text import printable

Shell = Literal["bash", "zsh", "fish"]

ASKED: Final = "_CHAINWATCH_COMPLETE"
"""The variable with the shell's name, in which the program is asked; the words up to the cursor are its arguments."""

# A line is a word that may stand there; `/` alone stands for the names of files.
_SCRIPTS: Final[dict[str, str]] = {
    "bash": f"""\
# Completion of chainwatch. For this shell: source <(chainwatch completion bash)
# For all of them, with the package bash-completion:
#   chainwatch completion bash > ~/.local/share/bash-completion/completions/chainwatch
_chainwatch() {{
    local IFS=$'\\n'
    COMPREPLY=($({ASKED}=bash "$1" "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
    if [[ ${{COMPREPLY[0]-}} == / ]]; then
        COMPREPLY=()
        compopt -o default 2>/dev/null
    fi
}}
complete -o nosort -F _chainwatch chainwatch
""",
    "zsh": f"""\
#compdef chainwatch
# Completion of chainwatch. For this shell, behind compinit: source <(chainwatch completion zsh)
# For all of them, as the file _chainwatch in a folder of $fpath.
_chainwatch() {{
    local -a told
    told=("${{(@f)$({ASKED}=zsh "$words[1]" "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    if [[ $told[1] == / ]]; then
        _files
    elif [[ -n $told[1] ]]; then
        _describe -V chainwatch told
    fi
}}
if [[ $funcstack[1] == _chainwatch ]]; then
    _chainwatch "$@"
else
    compdef _chainwatch chainwatch
fi
""",
    "fish": f"""\
# Completion of chainwatch. For this shell: chainwatch completion fish | source
# For all of them: chainwatch completion fish > ~/.config/fish/completions/chainwatch.fish
function __chainwatch_complete
    set -lx {ASKED} fish
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l told ($words[1] $words[2..-1] "$last" 2>/dev/null)
    if test "$told[1]" = /
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $told
    end
end
complete -c chainwatch -f -a '(__chainwatch_complete)'
""",
}


def completion(
    shell: Annotated[
        Shell | None, typer.Argument(metavar="SHELL", help="bash, zsh or fish. [default: that of $SHELL]")
    ] = None,
) -> None:
    """
    Print the script by which a shell completes commands, options, event types, and the names of your configuration.

    Nothing is asked over a network. The script says in its first lines where it belongs.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in _SCRIPTS:
        what = f"there is no completion for {printable(name, 32)!r}" if name else "which shell is meant?"
        raise UsageError(what, parameter="SHELL", value=name, hint=f"there is: {', '.join(_SCRIPTS)}")
    print(_SCRIPTS[name], end="")


def answer(group: Any, words: Sequence[str], shell: str) -> int:
    """Print what the last word may become. A shell that waits for its answer is told no errors."""
    from chainwatch.cli.completing import candidates, shown
    from chainwatch.cli.known import known

    if shell in _SCRIPTS:
        print("\n".join(shown(candidates(group, words, known), shell)))
    return 0
