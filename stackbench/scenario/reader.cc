#include "stackbench/scenario/reader.h"

#include <algorithm>
#include <filesystem>

#include "base/diagnostics.h"
#include "base/file.h"
#include "stackbench/scenario/overrides.h"
#include "stackbench/scenario/read.h"
#include "stackbench/scenario/resolve.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench {
namespace {

// A fault in the file has a line; one in a --set has the option for its source.
base::Diagnostic diagnostic_of(const ReadFault& fault, const std::string& name,
                               const std::vector<std::string>& overrides) {
  if (fault.place.origin == 0) {
    return {.source = name,
            .line = fault.place.line,
            .column = fault.place.column,
            .path = fault.path,
            .message = fault.message};
  }
  const auto& text = overrides[static_cast<std::size_t>(fault.place.origin) - 1];
  return {.source = "--set " + text.substr(0, text.find('=')),
          .path = fault.path == override_path(text) ? std::string() : fault.path,
          .message = fault.message};
}

std::string where(const ReadLog& log, const std::string& name) {
  const auto in_file = [](const ReadFault& fault) { return fault.place.origin == 0; };
  if (std::ranges::none_of(log.faults(), in_file)) return "--set";
  return std::ranges::all_of(log.faults(), in_file) ? name : name + " and --set";
}

// The files a wrong path may have meant.
std::string mend_for_missing(const std::string& path) {
  namespace fs = std::filesystem;
  const auto folder = fs::path(path).parent_path();
  std::vector<std::string> files;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, problem)) {
    if (entry.path().extension() == ".yaml")
      files.push_back((folder / entry.path().filename()).string());
  }
  if (const auto near = base::nearest_name(path, {files.begin(), files.end()})) {
    return fmt::format("Did you mean {}?", *near);
  }
  return "`stackbench list` names the scenarios that are here.";
}

base::Result<std::string> read_text(const std::string& path) {
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) {
    return base::fail_with_mend(base::ErrorKind::input,
                                fmt::format("{}: a folder, expected a scenario file", path),
                                "Name one of the files in it.");
  }
  auto text = base::read_file(path, yaml_size_limit);
  if (!text && text.error().kind == base::ErrorKind::missing) {
    text.error().mend = mend_for_missing(path);
  }
  return text;
}

}  // namespace

base::Result<Scenario> parse_scenario(std::string_view text, const std::string& name,
                                      const std::vector<std::string>& overrides) {
  ReadLog log;
  auto document = parse_yaml(text);
  for (auto& fault : document.faults) log.fault(fault.place, "", std::move(fault.message));
  if (!document.root && document.faults.empty()) {
    return base::fail_with_mend(
        base::ErrorKind::input, fmt::format("{}: empty, expected a scenario", name),
        "A scenario says at least its question, topology, arms and workloads; scenarios/smoke.yaml "
        "is one to start from.");
  }
  Scenario scenario;
  if (document.root) {
    for (std::size_t i = 0; i < overrides.size(); ++i) {
      const auto origin = static_cast<int>(i) + 1;
      auto applied = apply_override(*document.root, overrides[i], origin);
      if (!applied) {
        log.fault({.origin = origin}, override_path(overrides[i]),
                  std::move(applied).error().message);
      }
    }
    read_node(*document.root, "", {}, log, scenario);
    if (document.root->kind == YamlNode::Kind::map) resolve(scenario, log);
  }
  if (log.faults().empty()) return scenario;
  base::Diagnostics diagnostics(text);
  // Faults of options have no line to be sorted by: they come in the order of the options.
  for (std::size_t origin = 0; origin <= overrides.size(); ++origin) {
    for (const auto& fault : log.faults()) {
      if (static_cast<std::size_t>(fault.place.origin) != origin) continue;
      diagnostics.add(diagnostic_of(fault, name, overrides));
    }
  }
  return std::unexpected(diagnostics.to_error(where(log, name)));
}

base::Result<Scenario> load_scenario(const std::string& path,
                                     const std::vector<std::string>& overrides) {
  ASSIGN_OR_RETURN(const auto text, read_text(path));
  return parse_scenario(text, path, overrides);
}

}  // namespace stackbench
