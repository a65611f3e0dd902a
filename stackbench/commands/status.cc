// `stackbench status`: the clusters of this machine's own, and how they are.
#include <filesystem>

#include "base/json.h"
#include "base/terminal.h"
#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

namespace processes = cluster::processes;
using base::Result;
using processes::ClusterState;
using processes::Phase;

std::string indented(std::string_view text) {
  std::string result = "      ";
  for (const char c : text) {
    result += c;
    if (c == '\n') result += "      ";
  }
  return result;
}

std::string text_of(const ClusterState& state, bool lives, const processes::Directory& directory) {
  std::string text = fmt::format("{}: {} ({})\n", state.shape.name,
                                 lives ? std::string(base::enum_name(state.phase)) : "gone",
                                 processes::to_string(state.shape));
  if (!lives) {
    return text + fmt::format(
                      "  Its supervisor, process {}, was killed, and everything ended with it.\n"
                      "  stackbench down --name {} removes what is left.\n",
                      state.supervisor, state.shape.name);
  }
  text += fmt::format("  KUBECONFIG={}\n  logs in {}\n", directory.kubeconfig(), directory.logs());
  text += fmt::format("  supervisor is process {}; namespaces: nsenter -t {} -a", state.supervisor,
                      state.root);
  for (const auto& node : state.nodes) text += fmt::format(", {} -t {}", node.name, node.init);
  text += '\n';
  for (const auto& component : state.components) {
    text +=
        fmt::format("  {} {} process {}\n", base::pad_right(component.ended.value_or("runs"), 20),
                    base::pad_right(component.name, 24), component.pid);
    if (component.last_words && !component.last_words->empty()) {
      text += indented(*component.last_words) + "\n";
    }
  }
  return text;
}

}  // namespace

Action declare_status(CLI::App& app) {
  struct Arguments {
    ClusterArguments cluster;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  arguments->cluster.name.clear();
  app.add_option("--name", arguments->cluster.name, "Only this cluster (default: all)")
      ->type_name("NAME");
  app.add_flag("--json", arguments->json, "Print it as JSON");
  return [arguments](const Context&) -> Result<int> {
    ASSIGN_OR_RETURN(const auto provider, cluster_provider());
    std::vector<std::string> names{arguments->cluster.name};
    if (names.front().empty()) {
      ASSIGN_OR_RETURN(names, provider.names());
    } else {
      RETURN_IF_ERROR(processes::check_name(names.front()));
    }
    std::string text;
    base::Json json = base::Json::array();
    bool all_ready = !names.empty();
    for (const auto& name : names) {
      ASSIGN_OR_RETURN(const auto state, provider.find(name));
      const bool lives = state && processes::supervisor_lives(*state);
      all_ready = all_ready && lives && state->phase == Phase::ready;
      if (state) {
        text += text_of(*state, lives, provider.directory_of(name));
        auto object = base::to_json(*state);
        object["alive"] = lives;
        json.push_back(std::move(object));
      } else if (std::filesystem::exists(provider.directory_of(name).logs())) {
        text += fmt::format("{}: not up; the logs of a start that failed are in {}\n", name,
                            provider.directory_of(name).logs());
      } else {
        text += fmt::format("There is no cluster {}.\n", name);
      }
    }
    if (names.empty()) text = "There is no cluster. stackbench up brings one up.\n";
    RETURN_IF_ERROR(print(arguments->json ? base::dump_json_pretty(json) + "\n" : text));
    return all_ready ? exit_pass : exit_failed;
  };
}

}  // namespace stackbench
