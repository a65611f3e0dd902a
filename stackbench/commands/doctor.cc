// `stackbench doctor`: what this machine, or a cluster, can and cannot do, and what to install.
#include "cluster/lab/doctor.h"

#include <algorithm>

#include <unistd.h>

#include "base/json.h"
#include "base/terminal.h"
#include "cluster/kubernetes/doctor.h"
#include "cluster/processes/doctor.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/target.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

base::Paint paint_of(const cluster::Feature& feature) {
  if (feature.available == cluster::Available::yes) return base::Paint::green;
  if (feature.available == cluster::Available::no && feature.required) return base::Paint::red;
  return base::Paint::yellow;
}

std::string text_of(const std::vector<cluster::Feature>& features, const base::Terminal& terminal) {
  std::size_t width = 0;
  for (const auto& feature : features) width = std::max(width, feature.name.size());
  std::string text;
  for (const auto& feature : features) {
    const auto mark = base::pad_right(base::enum_name(feature.available), 8);
    text += fmt::format("{}{}  {}\n", base::painted(mark, paint_of(feature), terminal.colour),
                        base::pad_right(feature.name, width), feature.detail);
    if (feature.available == cluster::Available::yes) continue;
    const std::string indent(8 + width + 2, ' ');
    if (!feature.needed_by.empty()) {
      text += fmt::format("{}needed by {}\n", indent, feature.needed_by);
    }
    if (!feature.mend.empty()) text += fmt::format("{}{}\n", indent, feature.mend);
  }
  return text;
}

base::Result<std::vector<cluster::Feature>> probe(const TargetArguments& arguments,
                                                  const base::Interrupt& interrupt) {
  if (arguments.target == "kubernetes") {
    ASSIGN_OR_RETURN(const auto options, kubernetes_options(arguments, interrupt));
    return cluster::probe_cluster(options);
  }
  RETURN_IF_ERROR(refuse_cluster_arguments(arguments));
  auto features = cluster::probe_machine();
  features.push_back(cluster::processes::probe_processes());
  return features;
}

}  // namespace

Action declare_doctor(CLI::App& app) {
  struct Arguments {
    TargetArguments target;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_flag("--json", arguments->json, "Print it as JSON");
  declare_target_arguments(app, arguments->target);
  return [arguments](const Context& context) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto features, probe(arguments->target, context.interrupt));
    const auto required = [&features](cluster::Available available) {
      return std::ranges::any_of(features, [available](const cluster::Feature& feature) {
        return feature.required && feature.available == available;
      });
    };
    const bool lacking = required(cluster::Available::no);
    if (arguments->json) {
      RETURN_IF_ERROR(print(base::dump_json_pretty(base::to_json(features)) + "\n"));
      return lacking ? exit_usage : exit_pass;
    }
    const bool lab = arguments->target.target == "lab";
    auto text = text_of(features, base::detect_terminal(STDOUT_FILENO));
    if (lacking) {
      text += fmt::format("\n{}: see the required features marked no.\n",
                          lab ? "A lab cannot run here" : "Scenarios cannot run on this cluster");
    } else if (required(cluster::Available::unknown)) {
      text += "\nNot everything could be tried: ask again as root.\n";
    } else {
      text += lab ? "\nA lab can run here.\n" : "\nScenarios can run on this cluster.\n";
    }
    RETURN_IF_ERROR(print(text));
    return lacking ? exit_usage : exit_pass;
  };
}

}  // namespace stackbench
