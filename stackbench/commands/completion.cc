// `stackbench completion`: scripts for three shells, made from the same table as --help, so that a
// new command or option completes without anybody remembering.
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string bash_script(const CLI::App& app) {
  std::vector<std::string> names;
  std::string cases;
  for (const auto* sub : app.get_subcommands({})) {
    if (sub->get_group().empty()) continue;  // hidden
    names.push_back(sub->get_name());
    cases += fmt::format("    {}) words=\"{}\" ;;\n", sub->get_name(),
                         fmt::join(option_names(*sub), " "));
  }
  return fmt::format(
      "# stackbench completion for bash; source it, or put it in bash-completion's folder.\n"
      "_stackbench() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} words\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"{} {}\" -- \"$word\")\n"
      "    return\n"
      "  fi\n"
      "  case ${{COMP_WORDS[1]}} in\n"
      "{}"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
      "  else\n"
      "    mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _stackbench stackbench\n",
      fmt::join(names, " "), fmt::join(option_names(app), " "), cases);
}

std::string zsh_script(const CLI::App& app) {
  return "# stackbench completion for zsh; source it after compinit.\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         bash_script(app);
}

// A text inside single quotes of fish.
std::string fish_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

std::string fish_script(const CLI::App& app) {
  std::string script = "# stackbench completion for fish; put it in fish's completions folder.\n";
  for (const auto* sub : app.get_subcommands({})) {
    if (sub->get_group().empty()) continue;  // hidden
    script += fmt::format("complete -c stackbench -n __fish_use_subcommand -f -a {} -d {}\n",
                          sub->get_name(), fish_quoted(sub->get_description()));
    for (const auto* option : sub->get_options()) {
      for (const auto& name : option->get_lnames()) {
        script +=
            fmt::format("complete -c stackbench -n '__fish_seen_subcommand_from {}' -l {} -d {}\n",
                        sub->get_name(), name, fish_quoted(option->get_description()));
      }
    }
  }
  return script;
}

}  // namespace

Action declare_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("SHELL");
  return [shell](const Context&) {
    std::vector<Action> unused;
    const auto root = make_app(unused);
    if (*shell == "bash") return print(bash_script(*root));
    if (*shell == "zsh") return print(zsh_script(*root));
    return print(fish_script(*root));
  };
}

}  // namespace stackbench
