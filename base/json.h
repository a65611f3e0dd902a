// JSON for every described struct (base/describe.h): writing, reading with errors that name the
// place, and the JSON Schema (draft-07). nlohmann/json throws; it is caught here and nowhere else.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/describe.h"
#include "base/result.h"
#include "base/scalar.h"

namespace base {

// Keys keep the order they were written in, so reports read in the order of their structs.
using Json = nlohmann::ordered_json;

// The parsed text. Errors: input, "line 3, column 7: ..." in the words of the parser.
[[nodiscard]] Result<Json> parse_json(std::string_view text);

// One line of text, invalid UTF-8 replaced, never throws.
[[nodiscard]] std::string dump_json(const Json& json);
// The same over several lines, indented by two.
[[nodiscard]] std::string dump_json_pretty(const Json& json);

// The value as JSON. Absent optionals are left out; a NaN or infinite double becomes null.
template <typename T>
[[nodiscard]] Json to_json(const T& value);

// Reads a value; `path` names it in errors ("result.latency"). Unknown fields are ignored, so that
// a newer peer may say more. Errors: input, "result.latency.count: expected an integer, got \"x\"".
template <typename T>
[[nodiscard]] Result<T> from_json(const Json& json, const std::string& path = "");

// The draft-07 schema of T, its description included, without the "$schema" line.
template <typename T>
[[nodiscard]] Json json_schema();

// ---- what follows is how -----------------------------------------------------------------------

// A class with an invariant writes its own codec: Json to_json() const,
// static Result<T> from_json(const Json&, const std::string& path), static Json json_schema().
template <typename T>
concept HasJsonCodec = requires(const T& value, const Json& json, const std::string& path) {
  { value.to_json() } -> std::same_as<Json>;
  { T::from_json(json, path) } -> std::same_as<Result<T>>;
  { T::json_schema() } -> std::same_as<Json>;
};

namespace json_detail {

[[nodiscard]] std::unexpected<Error> wrong_type(const std::string& path, std::string_view expected,
                                                const Json& got);
[[nodiscard]] std::string join(const std::string& path, std::string_view name);
// Refuses a number outside the bounds of its field.
[[nodiscard]] Result<> check_bounds(double value, const FieldOptions& options,
                                    const std::string& path);

struct Writer {
  Json& object;
  template <typename T>
  void operator()(std::string_view name, const T& member, const FieldOptions&) {
    if constexpr (IsOptional<T>::value) {
      if (!member) return;
    }
    object[std::string(name)] = to_json(member);
  }
};

struct Reader {
  const Json& object;
  const std::string& path;
  Result<> outcome{};
  template <typename T>
  void operator()(std::string_view name, T& member, const FieldOptions& options) {
    if (!outcome) return;
    const auto found = object.find(name);
    if (found == object.end()) {
      if (options.required) outcome = fail(ErrorKind::input, "{}: missing", join(path, name));
      return;
    }
    auto value = from_json<T>(*found, join(path, name));
    if (!value) {
      outcome = std::unexpected(std::move(value).error());
      return;
    }
    if constexpr (std::is_arithmetic_v<T> && !std::same_as<T, bool>) {
      outcome = check_bounds(static_cast<double>(*value), options, join(path, name));
    }
    member = std::move(*value);
  }
};

struct SchemaWriter {
  Json& properties;
  Json& required;
  template <typename T>
  void operator()(std::string_view name, const T& member, const FieldOptions& options) {
    Json schema = json_schema<T>();
    if (!options.doc.empty()) schema["description"] = std::string(options.doc);
    if (options.at_least) schema["minimum"] = *options.at_least;
    if (options.at_most) schema["maximum"] = *options.at_most;
    if (options.required) {
      required.push_back(std::string(name));
    } else if constexpr (!IsOptional<T>::value && !Described<const T> && !HasJsonCodec<T>) {
      schema["default"] = to_json(member);
    }
    properties[std::string(name)] = std::move(schema);
  }
};

}  // namespace json_detail

template <typename T>
Json to_json(const T& value) {
  if constexpr (std::same_as<T, Json> || std::same_as<T, std::string> || std::integral<T>) {
    return value;
  } else if constexpr (HasJsonCodec<T>) {
    return value.to_json();
  } else if constexpr (IsOptional<T>::value) {
    return value ? to_json(*value) : Json();
  } else if constexpr (IsVector<T>::value) {
    Json array = Json::array();
    for (const auto& element : value) array.push_back(to_json(element));
    return array;
  } else if constexpr (IsMap<T>::value) {
    Json object = Json::object();
    for (const auto& [key, element] : value) object[key] = to_json(element);
    return object;
  } else if constexpr (IsNamedEnum<T>) {
    return std::string(enum_name(value));
  } else if constexpr (IsStringScalar<T>) {
    return StringScalar<T>::format(value);
  } else if constexpr (std::floating_point<T>) {
    return std::isfinite(value) ? Json(value) : Json();
  } else {
    static_assert(Described<const T>, "describe() this type, see base/describe.h");
    Json object = Json::object();
    json_detail::Writer writer{object};
    describe(writer, value);
    return object;
  }
}

template <typename T>
Result<T> from_json(const Json& json, const std::string& path) {
  if constexpr (std::same_as<T, Json>) {
    return json;
  } else if constexpr (HasJsonCodec<T>) {
    return T::from_json(json, path);
  } else if constexpr (IsOptional<T>::value) {
    if (json.is_null()) return T{};
    ASSIGN_OR_RETURN(auto value, from_json<typename T::value_type>(json, path));
    return T(std::move(value));
  } else if constexpr (IsVector<T>::value) {
    if (!json.is_array()) return json_detail::wrong_type(path, "an array", json);
    T array;
    for (std::size_t i = 0; i < json.size(); ++i) {
      ASSIGN_OR_RETURN(auto element,
                       from_json<typename T::value_type>(json[i], fmt::format("{}[{}]", path, i)));
      array.push_back(std::move(element));
    }
    return array;
  } else if constexpr (IsMap<T>::value) {
    if (!json.is_object()) return json_detail::wrong_type(path, "an object", json);
    T map;
    for (const auto& [key, element] : json.items()) {
      ASSIGN_OR_RETURN(auto value,
                       from_json<typename T::mapped_type>(element, json_detail::join(path, key)));
      map.emplace(key, std::move(value));
    }
    return map;
  } else if constexpr (IsNamedEnum<T>) {
    if (json.is_string()) {
      if (auto value = enum_from_name<T>(json.template get_ref<const std::string&>())) {
        return *value;
      }
    }
    return json_detail::wrong_type(path, fmt::format("one of {}", fmt::join(enum_names<T>(), ", ")),
                                   json);
  } else if constexpr (IsStringScalar<T>) {
    if (!json.is_string()) {
      return json_detail::wrong_type(
          path, fmt::format("a string such as {}", StringScalar<T>::example), json);
    }
    auto value = StringScalar<T>::parse(json.template get_ref<const std::string&>());
    if (!value) return in_context(std::move(value).error(), "{}", path);
    return *value;
  } else if constexpr (std::same_as<T, bool>) {
    if (!json.is_boolean()) return json_detail::wrong_type(path, "true or false", json);
    return json.template get<bool>();
  } else if constexpr (std::integral<T>) {
    if (json.is_number_unsigned()) {
      const auto value = json.template get<std::uint64_t>();
      if (std::in_range<T>(value)) return static_cast<T>(value);
    } else if (json.is_number_integer()) {
      const auto value = json.template get<std::int64_t>();
      if (std::in_range<T>(value)) return static_cast<T>(value);
    }
    return json_detail::wrong_type(
        path,
        fmt::format("an integer between {} and {}", std::numeric_limits<T>::min(),
                    std::numeric_limits<T>::max()),
        json);
  } else if constexpr (std::floating_point<T>) {
    if (json.is_null()) return std::numeric_limits<T>::quiet_NaN();
    if (!json.is_number()) return json_detail::wrong_type(path, "a number", json);
    return json.template get<T>();
  } else if constexpr (std::same_as<T, std::string>) {
    if (!json.is_string()) return json_detail::wrong_type(path, "a string", json);
    return json.template get<std::string>();
  } else {
    static_assert(Described<T>, "describe() this type, see base/describe.h");
    if (!json.is_object()) return json_detail::wrong_type(path, "an object", json);
    T object;
    json_detail::Reader reader{json, path};
    describe(reader, object);
    if (!reader.outcome) return std::unexpected(std::move(reader.outcome).error());
    return object;
  }
}

template <typename T>
Json json_schema() {
  if constexpr (std::same_as<T, Json>) {
    return Json::object();
  } else if constexpr (HasJsonCodec<T>) {
    return T::json_schema();
  } else if constexpr (IsOptional<T>::value) {
    return json_schema<typename T::value_type>();
  } else if constexpr (IsVector<T>::value) {
    return {{"type", "array"}, {"items", json_schema<typename T::value_type>()}};
  } else if constexpr (IsMap<T>::value) {
    return {{"type", "object"}, {"additionalProperties", json_schema<typename T::mapped_type>()}};
  } else if constexpr (IsNamedEnum<T>) {
    Json names = Json::array();
    for (const auto name : enum_names<T>()) names.push_back(std::string(name));
    return {{"type", "string"}, {"enum", std::move(names)}};
  } else if constexpr (IsStringScalar<T>) {
    return {{"type", "string"}, {"pattern", std::string(StringScalar<T>::pattern)}};
  } else if constexpr (std::same_as<T, bool>) {
    return {{"type", "boolean"}};
  } else if constexpr (std::integral<T>) {
    return {{"type", "integer"}};
  } else if constexpr (std::floating_point<T>) {
    return {{"type", "number"}};
  } else if constexpr (std::same_as<T, std::string>) {
    return {{"type", "string"}};
  } else {
    static_assert(Described<const T>, "describe() this type, see base/describe.h");
    Json properties = Json::object();
    Json required = Json::array();
    json_detail::SchemaWriter writer{properties, required};
    const T defaults{};
    describe(writer, defaults);
    Json schema = {{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) schema["required"] = std::move(required);
    schema["additionalProperties"] = false;
    return schema;
  }
}

}  // namespace base
