// One description per struct, from which everything else follows: the YAML reader, JSON in both
// directions and the JSON Schema. A struct is described by a free function beside it:
//
//   struct Pod { int node = 1; int replicas = 1; };
//   template <typename Visit, base::SelfOf<Pod> Self>
//   void describe(Visit& visit, Self& self) {
//     visit("node", self.node, {.doc = "The node it runs on, from 1.", .required = true});
//     visit("replicas", self.replicas, {.doc = "How many of it.", .at_least = 1});
//   }
//
// Members may be bool, integers, double, std::string, named enums (base/scalar.h), string scalars
// (base/scalar.h), base::Json (anything), described structs, and std::optional, std::vector and
// std::map<std::string, ...> of those.
#pragma once

#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace base {

// What a reader needs to know of a field beside its type.
struct FieldOptions {
  std::string_view doc;                 // one sentence for the schema and for people
  bool required = false;                // absent is an error; otherwise the member's default stays
  std::optional<double> at_least = {};  // for numbers: the bounds, inclusive
  std::optional<double> at_most = {};
};

template <typename Self, typename T>
concept SelfOf = std::same_as<std::remove_const_t<Self>, T>;

// Accepts any field: only for the concept below.
struct AnyVisit {
  template <typename T>
  void operator()(std::string_view, T&, const FieldOptions&) {}
};

template <typename T>
concept Described = requires(AnyVisit& visit, T& self) { describe(visit, self); };

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsMap : std::false_type {};
template <typename T>
struct IsMap<std::map<std::string, T>> : std::true_type {};

}  // namespace base
