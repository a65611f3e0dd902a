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

// A command's own commands (`bgp watch`) that --help shows.
std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
}

std::vector<std::string> names_of(const std::vector<const CLI::App*>& commands) {
  std::vector<std::string> names;
  for (const auto* command : commands) names.push_back(command->get_name());
  return names;
}

// The options of each command, by its words; a command of commands has their names as `below`.
std::string bash_cases(const CLI::App& app) {
  std::string cases;
  for (const auto* sub : commands_of(app)) {
    const auto below = commands_of(*sub);
    for (const auto* one : below) {
      cases += fmt::format("    \"{} {}\") words=\"{}\" ;;\n", sub->get_name(), one->get_name(),
                           fmt::join(option_names(*one), " "));
    }
    cases += fmt::format(
        "    \"{} \"*) words=\"{}\"{} ;;\n", sub->get_name(), fmt::join(option_names(*sub), " "),
        below.empty() ? "" : fmt::format(" below=\"{}\"", fmt::join(names_of(below), " ")));
  }
  return cases;
}

std::string bash_script(const CLI::App& app) {
  return fmt::format(
      "# stackbench completion for bash; source it, or put it in bash-completion's folder.\n"
      "_stackbench() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} words below\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"{} {}\" -- \"$word\")\n"
      "    return\n"
      "  fi\n"
      "  case \"${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}\" in\n"
      "{}"
      "  esac\n"
      "  if ((COMP_CWORD == 2)) && [[ $below && $word != -* ]]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"$below\" -- \"$word\")\n"
      "    return\n"
      "  fi\n"
      "  if [[ $word == -* ]]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
      "  else\n"
      "    mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _stackbench stackbench\n",
      fmt::join(names_of(commands_of(app)), " "), fmt::join(option_names(app), " "),
      bash_cases(app));
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

// The options of a command that is complete where `condition` holds.
std::string fish_options(const CLI::App& app, std::string_view condition) {
  std::string script;
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) {
      script += fmt::format("complete -c stackbench -n '{}' -l {} -d {}\n", condition, name,
                            fish_quoted(option->get_description()));
    }
  }
  return script;
}

std::string fish_script(const CLI::App& app) {
  std::string script = "# stackbench completion for fish; put it in fish's completions folder.\n";
  for (const auto* sub : commands_of(app)) {
    const auto& name = sub->get_name();
    script += fmt::format("complete -c stackbench -n __fish_use_subcommand -f -a {} -d {}\n", name,
                          fish_quoted(sub->get_description()));
    const auto seen = "__fish_seen_subcommand_from " + name;
    const auto below = commands_of(*sub);
    if (below.empty()) script += fish_options(*sub, seen);
    for (const auto* one : below) {
      script += fmt::format(
          "complete -c stackbench -n '{}; and not __fish_seen_subcommand_from {}' -f -a {} -d {}\n",
          seen, fmt::join(names_of(below), " "), one->get_name(),
          fish_quoted(one->get_description()));
      script += fish_options(*one, seen + "; and __fish_seen_subcommand_from " + one->get_name());
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
