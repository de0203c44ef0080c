// Completion scripts for bash, zsh and fish, made from the table of commands. Names of objects come from `windlass __complete`.
import { WindlassError } from '#runtime/api/errors.ts';
import { completesNames } from './words.ts';
import type { CommandWords } from './words.ts';

/** The script for a shell. Throws WL_USAGE for one that is not supported. */
export function completionScript(shell: string, commands: readonly CommandWords[]): string {
  if (shell === 'bash') return bash(commands);
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;
  if (shell === 'fish') return fish(commands);
  throw new WindlassError('WL_USAGE', `no completion for ${shell}; there are bash, zsh and fish`);
}

function bash(commands: readonly CommandWords[]): string {
  const flagsOf = ({ options }: CommandWords) => options.flatMap(({ flags }) => flags).join(' ');
  const cases = commands.map((command) => `    ${command.name}) words="${flagsOf(command)}" ;;`).join('\n');
  const asking = commands.filter(completesNames).map(({ name }) => name);
  return `_windlass() {
  local words asks="" current="\${COMP_WORDS[COMP_CWORD]}"
  case "\${COMP_WORDS[1]}" in
${cases}
    *) words="" ;;
  esac
  case "\${COMP_WORDS[1]}" in ${asking.join('|')}) asks=1 ;; esac
  [ "$COMP_CWORD" = 1 ] && words="${commands.map(({ name }) => name).join(' ')} --help --version" asks=""
  case "$current" in
    -*) ;;
    *)
      if [ -n "$asks" ]; then
        words="$("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | sed -e '/^:/d' -e 's/\\t.*//')"
      elif [ "$COMP_CWORD" != 1 ]; then
        words="$words $(compgen -f -- "$current")"
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -F _windlass windlass
`;
}

function fish(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap((command) => {
    const { name, description, options } = command;
    const within = `complete -c windlass -n '__fish_seen_subcommand_from ${name}'`;
    const ask = '(windlass __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null | string match -v ":*")';
    return [
      `complete -c windlass -n __fish_use_subcommand -f -a ${name} -d '${description.replaceAll("'", "\\'")}'`,
      ...options
        .flatMap(({ flags }) => flags.filter((flag) => flag.startsWith('--')))
        .map((flag) => `${within} -l ${flag.slice(2)}`),
      ...(completesNames(command) ? [`${within} -f -a '${ask}'`] : []),
    ];
  });
  return `${lines.join('\n')}\n`;
}
