// Completion scripts for bash, zsh and fish, made from the table of commands.
import { WindlassError } from '#runtime/api/errors.ts';

export interface CommandWords {
  readonly name: string;
  readonly description: string;
  readonly options: readonly string[];
}

/** The script for a shell. Throws WL_USAGE for one that is not supported. */
export function completionScript(shell: string, commands: readonly CommandWords[]): string {
  if (shell === 'bash') return bash(commands);
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;
  if (shell === 'fish') return fish(commands);
  throw new WindlassError('WL_USAGE', `no completion for ${shell}; there are bash, zsh and fish`);
}

function bash(commands: readonly CommandWords[]): string {
  const cases = commands.map(({ name, options }) => `    ${name}) words="${options.join(' ')}" ;;`).join('\n');
  return `_windlass() {
  local words current="\${COMP_WORDS[COMP_CWORD]}"
  case "\${COMP_WORDS[1]}" in
${cases}
    *) words="" ;;
  esac
  [ "$COMP_CWORD" = 1 ] && words="${commands.map(({ name }) => name).join(' ')} --help --version"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "$current" in -*) ;; *) [ "$COMP_CWORD" = 1 ] || COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}
complete -o filenames -F _windlass windlass
`;
}

function fish(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ name, description, options }) => [
    `complete -c windlass -n __fish_use_subcommand -f -a ${name} -d '${description.replaceAll("'", "\\'")}'`,
    ...options
      .filter((flag) => flag.startsWith('--'))
      .map((flag) => `complete -c windlass -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)}`),
  ]);
  return `${lines.join('\n')}\n`;
}
