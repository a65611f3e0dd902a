#include "stackbench/scenario/overrides.h"

#include <charconv>
#include <utility>
#include <vector>

namespace stackbench {
namespace {

constexpr std::size_t max_steps = 16;

bool is_index(std::string_view step) {
  return !step.empty() && step.find_first_not_of("0123456789") == std::string_view::npos;
}

// "workloads[0].rate" and "workloads.0.rate" are the steps workloads, 0, rate.
std::vector<std::string> steps_of(std::string_view path) {
  std::vector<std::string> steps(1);
  for (const char c : path) {
    if (c == '.' || c == '[') {
      steps.emplace_back();
    } else if (c != ']') {
      steps.back() += c;
    }
  }
  return steps;
}

base::Result<YamlNode*> item_at(YamlNode& list, const std::string& step, const std::string& where) {
  std::size_t index = 0;
  const auto [rest, problem] = std::from_chars(step.data(), step.data() + step.size(), index);
  if (!is_index(step)) {
    return base::fail(base::ErrorKind::input,
                      "{} is a list: expected the number of an item, counted from 0, got \"{}\"",
                      where, step);
  }
  if (problem != std::errc{} || index >= list.items.size()) {
    return base::fail(base::ErrorKind::input, "{} has no item {}: it has {}, counted from 0", where,
                      step, list.items.size());
  }
  return &list.items[index];
}

// The value below `node`, made where a map lacks it.
base::Result<YamlNode*> step_into(YamlNode& node, const std::string& step, const std::string& where,
                                  int origin) {
  if (node.kind == YamlNode::Kind::list) return item_at(node, step, where);
  // `environments:` with nothing behind it is as good as an empty map.
  if (node.is_nothing()) {
    node.kind = YamlNode::Kind::map;
    node.place = {.origin = origin};
  }
  if (node.kind == YamlNode::Kind::scalar) {
    return base::fail(base::ErrorKind::input, "{} is \"{}\", there is nothing below it", where,
                      node.text);
  }
  if (auto* entry = node.find(step)) return &entry->value;
  auto& added = node.entries.emplace_back(
      YamlEntry{.key = step, .key_plain = false, .key_place = {.origin = origin}});
  added.value.place = {.origin = origin};
  return &added.value;
}

}  // namespace

base::Result<> apply_override(YamlNode& root, std::string_view text, int origin) {
  const auto equals = text.find('=');
  const auto steps = steps_of(text.substr(0, equals));
  bool sound = equals != std::string_view::npos && steps.size() <= max_steps;
  for (const auto& step : steps) sound = sound && !step.empty();
  if (!sound) {
    return base::fail(base::ErrorKind::input,
                      "expected PATH=VALUE such as blocks=20 or workloads.0.rate=5000/s");
  }
  auto document = parse_yaml(text.substr(equals + 1), origin);
  if (!document.faults.empty()) {
    return base::fail(base::ErrorKind::input, "{}", document.faults.front().message);
  }
  if (!document.root) {
    return base::fail(base::ErrorKind::input, "expected a value after \"=\", got nothing");
  }
  auto* node = &root;
  std::string where;
  for (const auto& step : steps) {
    ASSIGN_OR_RETURN(node, step_into(*node, step, where.empty() ? "the scenario" : where, origin));
    where += (where.empty() ? "" : ".") + step;
  }
  *node = std::move(*document.root);
  return {};
}

std::string override_path(std::string_view text) {
  std::string path;
  for (const auto& step : steps_of(text.substr(0, text.find('=')))) {
    if (is_index(step) && !path.empty()) {
      path += "[" + step + "]";
    } else {
      path += (path.empty() ? "" : ".") + step;
    }
  }
  return path;
}

}  // namespace stackbench
