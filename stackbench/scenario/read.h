// Reads any described struct (base/describe.h) from a YAML tree: every fault at its place, all of
// them in one pass, nothing taken silently.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/describe.h"
#include "base/json.h"
#include "base/scalar.h"
#include "stackbench/scenario/decode.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench {

// "a.b" of "a" and "b"; "b" of "" and "b".
[[nodiscard]] std::string join_path(const std::string& path, std::string_view name);
// "a[3]".
[[nodiscard]] std::string index_path(const std::string& path, std::size_t index);
// `; did you mean "x"?` or, where nothing is near, `; known here: x, y, z`.
[[nodiscard]] std::string suggest(std::string_view text,
                                  const std::vector<std::string_view>& known);

struct ReadFault {
  Place place;
  std::string path;
  std::string message;
};

// What reading leaves behind beside the struct: its faults, and where every value stood, so that
// what is found wrong later can name its place too.
class ReadLog {
 public:
  // Fields that are not known are passed over: of what somebody else defines, and we read a part
  // of.
  void pass_over_unknown() { passes_over_unknown_ = true; }
  [[nodiscard]] bool passes_over_unknown() const { return passes_over_unknown_; }
  void fault(const Place& place, const std::string& path, std::string message);
  // Something near `path` was written wrongly and may have been meant for it: makes it faulty.
  void doubt(const std::string& path) { faulty_paths_.insert(path); }
  void stands(const std::string& path, const Place& key, const Place& value);

  [[nodiscard]] const std::vector<ReadFault>& faults() const { return faults_; }
  // Where the value of `path` stands, or what encloses it when it was left out.
  [[nodiscard]] Place place_of(const std::string& path) const;
  // The same for its key.
  [[nodiscard]] Place key_place_of(const std::string& path) const;
  // Whether the value of `path`, something in it or something around it could not be read: what it
  // holds then is not what the user meant, and judging it would only blame the innocent.
  [[nodiscard]] bool faulty(const std::string& path) const;
  // The same without what is in it: whether `path` itself or something around it is wrong.
  [[nodiscard]] bool faulty_itself(const std::string& path) const;

 private:
  struct Places {
    Place key;
    Place value;
  };
  std::map<std::string, Places> places_;
  std::vector<ReadFault> faults_;
  std::set<std::string> faulty_paths_;
  bool passes_over_unknown_ = false;
};

// Reads `node` into `value`; what cannot be read leaves its default. `path` names it in faults.
template <typename T>
void read_node(const YamlNode& node, const std::string& path, const base::FieldOptions& options,
               ReadLog& log, T& value);

// ---- what follows is how -----------------------------------------------------------------------

namespace read_detail {

void check_duplicates(const YamlNode& map, const std::string& path, ReadLog& log);
void check_unknown(const YamlNode& map, const std::string& path,
                   const std::vector<std::string_view>& known, ReadLog& log);
void check_bounds(double number, const YamlNode& node, const std::string& path,
                  const base::FieldOptions& options, ReadLog& log);
// `unknown value "x"; did you mean "y"? (one of y, z)`.
[[nodiscard]] std::string unknown_word(std::string_view text,
                                       const std::vector<std::string_view>& known);

struct FieldReader {
  const YamlNode& map;
  const std::string& path;
  ReadLog& log;
  std::vector<std::string_view> known{};

  template <typename T>
  void operator()(std::string_view name, T& member, const base::FieldOptions& options) {
    known.push_back(name);
    const auto member_path = join_path(path, name);
    const auto* entry = map.find(name);
    if (entry == nullptr) {
      if (options.required) {
        log.fault(map.place, member_path, fmt::format("missing: {}", options.doc));
      }
      return;
    }
    log.stands(member_path, entry->key_place, entry->value.place);
    read_node(entry->value, member_path, options, log, member);
  }
};

// Takes the value or records the fault.
template <typename T>
void take(base::Result<T> read, const YamlNode& node, const std::string& path, ReadLog& log,
          T& value) {
  if (read) {
    value = std::move(*read);
  } else {
    log.fault(node.place, path, std::move(read).error().message);
  }
}

template <typename T>
void read_number(const YamlNode& node, const std::string& path, const base::FieldOptions& options,
                 ReadLog& log, T& value) {
  base::Result<> outcome;
  if constexpr (std::integral<T>) {
    outcome = decode_integer(node, value);
  } else {
    outcome = decode_number(node, value);
  }
  if (outcome) {
    check_bounds(static_cast<double>(value), node, path, options, log);
  } else {
    log.fault(node.place, path, std::move(outcome).error().message);
  }
}

template <typename T>
base::Result<T> read_enum(const YamlNode& node) {
  const auto names = base::enum_names<T>();
  ASSIGN_OR_RETURN(const auto word,
                   decode_word(node, fmt::format("one of {}", fmt::join(names, ", "))));
  if (const auto found = base::enum_from_name<T>(word)) return *found;
  return base::fail(base::ErrorKind::input, "{}", unknown_word(word, names));
}

template <typename T>
base::Result<T> read_string_scalar(const YamlNode& node) {
  ASSIGN_OR_RETURN(const auto word, decode_word(node, fmt::format("a value such as {}",
                                                                  base::StringScalar<T>::example)));
  return base::StringScalar<T>::parse(word);
}

// A class that has a codec of its own. Where it refuses, it leads with "value", for the path we
// know and it does not.
template <typename T>
base::Result<T> read_by_codec(const YamlNode& node) {
  auto read = T::from_json(decode_json(node), "");
  constexpr std::string_view lead = "value: ";
  if (!read && read.error().message.starts_with(lead)) read.error().message.erase(0, lead.size());
  return read;
}

template <typename T>
void read_list(const YamlNode& node, const std::string& path, ReadLog& log, T& value) {
  if (node.kind != YamlNode::Kind::list) {
    log.fault(node.place, path, unexpected_node("a list", node).error().message);
    return;
  }
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const auto item_path = index_path(path, i);
    log.stands(item_path, node.items[i].place, node.items[i].place);
    read_node(node.items[i], item_path, {}, log, value.emplace_back());
  }
}

template <typename T>
void read_map(const YamlNode& node, const std::string& path, ReadLog& log, T& value) {
  if (node.kind != YamlNode::Kind::map) {
    log.fault(node.place, path, unexpected_node("a map", node).error().message);
    return;
  }
  check_duplicates(node, path, log);
  for (const auto& entry : node.entries) {
    const auto [element, inserted] = value.try_emplace(entry.key);
    if (!inserted) continue;
    const auto entry_path = join_path(path, entry.key);
    if (auto named = check_key(entry); !named) {
      log.fault(entry.key_place, entry_path, std::move(named).error().message);
    }
    log.stands(entry_path, entry.key_place, entry.value.place);
    read_node(entry.value, entry_path, {}, log, element->second);
  }
}

}  // namespace read_detail

template <typename T>
void read_node(const YamlNode& node, const std::string& path, const base::FieldOptions& options,
               ReadLog& log, T& value) {
  if constexpr (std::same_as<T, base::Json>) {
    value = decode_json(node);
  } else if constexpr (base::HasJsonCodec<T>) {
    read_detail::take(read_detail::read_by_codec<T>(node), node, path, log, value);
  } else if constexpr (base::IsOptional<T>::value) {
    read_node(node, path, options, log, value.emplace());
  } else if constexpr (base::IsVector<T>::value) {
    read_detail::read_list(node, path, log, value);
  } else if constexpr (base::IsMap<T>::value) {
    read_detail::read_map(node, path, log, value);
  } else if constexpr (base::IsNamedEnum<T>) {
    read_detail::take(read_detail::read_enum<T>(node), node, path, log, value);
  } else if constexpr (base::IsStringScalar<T>) {
    read_detail::take(read_detail::read_string_scalar<T>(node), node, path, log, value);
  } else if constexpr (std::same_as<T, std::string>) {
    read_detail::take(decode_text(node), node, path, log, value);
  } else if constexpr (std::same_as<T, bool>) {
    read_detail::take(decode_bool(node), node, path, log, value);
  } else if constexpr (std::is_arithmetic_v<T>) {
    read_detail::read_number(node, path, options, log, value);
  } else {
    static_assert(base::Described<T>, "describe() this type, see base/describe.h");
    if (node.kind != YamlNode::Kind::map) {
      log.fault(node.place, path, unexpected_node("a map", node).error().message);
      return;
    }
    read_detail::check_duplicates(node, path, log);
    read_detail::FieldReader reader{node, path, log};
    describe(reader, value);
    read_detail::check_unknown(node, path, reader.known, log);
  }
}

}  // namespace stackbench
