// `stackbench doctor`: what this machine can and cannot do, and what to install.
#include "cluster/lab/doctor.h"

#include <algorithm>

#include <unistd.h>

#include "base/json.h"
#include "base/terminal.h"
#include "cluster/processes/doctor.h"
#include "stackbench/commands/command.h"
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

}  // namespace

Action declare_doctor(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "Print it as JSON");
  return [json](const Context&) -> base::Result<int> {
    auto features = cluster::probe_machine();
    features.push_back(cluster::processes::probe_processes());
    const auto lacking = std::ranges::count_if(features, [](const cluster::Feature& feature) {
      return feature.required && feature.available == cluster::Available::no;
    });
    const auto untried = std::ranges::count_if(features, [](const cluster::Feature& feature) {
      return feature.required && feature.available == cluster::Available::unknown;
    });
    if (*json) {
      RETURN_IF_ERROR(print(base::dump_json_pretty(base::to_json(features)) + "\n"));
    } else {
      const auto terminal = base::detect_terminal(STDOUT_FILENO);
      auto text = text_of(features, terminal);
      text += lacking > 0   ? "\nA lab cannot run here: see the required features marked no.\n"
              : untried > 0 ? "\nNot everything could be tried: ask again as root.\n"
                            : "\nA lab can run here.\n";
      RETURN_IF_ERROR(print(text));
    }
    return lacking > 0 ? exit_usage : exit_pass;
  };
}

}  // namespace stackbench
