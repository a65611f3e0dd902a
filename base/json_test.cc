#include "base/json.h"

#include <gtest/gtest.h>

namespace base {
namespace {

enum class Level { low, high };

struct Inner {
  std::string name;
  std::optional<int> weight;
};

template <typename Visit, SelfOf<Inner> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Its name.", .required = true});
  visit("weight", self.weight, {.doc = "Its weight."});
}

struct Outer {
  bool on = true;
  std::int8_t small = -5;
  std::uint64_t large = 0;
  double ratio = 0.5;
  Level level = Level::low;
  Duration wait = std::chrono::milliseconds(5);
  std::vector<Inner> list;
  std::map<std::string, Inner> map;
  Json anything;
};

template <typename Visit, SelfOf<Outer> Self>
void describe(Visit& visit, Self& self) {
  visit("on", self.on, {.doc = "Whether."});
  visit("small", self.small, {.doc = "A small one.", .at_least = -10, .at_most = 10});
  visit("large", self.large, {.doc = "A large one."});
  visit("ratio", self.ratio, {.doc = "A share.", .at_least = 0});
  visit("level", self.level, {.doc = "How much."});
  visit("wait", self.wait, {.doc = "How long."});
  visit("list", self.list, {.doc = "Several."});
  visit("map", self.map, {.doc = "By name."});
  visit("anything", self.anything, {.doc = "Whatever."});
}

}  // namespace

template <>
struct EnumNames<Level> {
  static constexpr std::array names{std::pair{Level::low, std::string_view("low")},
                                    std::pair{Level::high, std::string_view("high")}};
};

namespace {

Outer sample() {
  Outer outer;
  outer.small = 10;
  outer.large = std::numeric_limits<std::uint64_t>::max();
  outer.ratio = 1.0 / 3;
  outer.level = Level::high;
  outer.wait = Duration(1501);
  outer.list = {{.name = "a", .weight = 3}, {.name = "b \"quoted\" \u00e9\n", .weight = {}}};
  outer.map.emplace("m", Inner{.name = "c", .weight = -1});
  outer.anything = {{"k", {1, 2.5, nullptr}}};
  return outer;
}

Error error_of(std::string_view text) {
  const auto json = parse_json(text);
  EXPECT_TRUE(json) << text;
  const auto value = from_json<Outer>(*json, "result");
  EXPECT_FALSE(value) << text;
  return value ? Error{} : value.error();
}

TEST(Json, ReadsBackWhatItWrites) {
  const auto written = dump_json(to_json(sample()));
  const auto parsed = parse_json(written);
  ASSERT_TRUE(parsed);
  const auto read = from_json<Outer>(*parsed);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(dump_json(to_json(*read)), written);
  EXPECT_EQ(read->large, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(read->ratio, 1.0 / 3);
  EXPECT_EQ(read->wait, Duration(1501));
  EXPECT_EQ(read->list.at(1).name, sample().list.at(1).name);
  EXPECT_EQ(read->list.at(1).weight, std::nullopt);
}

TEST(Json, WritesFieldsInTheOrderOfTheStruct) {
  EXPECT_EQ(dump_json(to_json(Outer{})),
            R"({"on":true,"small":-5,"large":0,"ratio":0.5,"level":"low","wait":"5ms",)"
            R"("list":[],"map":{},"anything":null})");
}

TEST(Json, LeavesDefaultsWhereFieldsAreAbsentAndIgnoresUnknownOnes) {
  const auto value = from_json<Outer>(Json::parse(R"({"small": 1, "from_a_newer_peer": [1]})"));
  ASSERT_TRUE(value);
  EXPECT_EQ(value->small, 1);
  EXPECT_EQ(value->wait, Duration(std::chrono::milliseconds(5)));
}

TEST(Json, WritesNoNumberForWhatIsNone) {
  Outer outer;
  outer.ratio = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(to_json(outer)["ratio"].is_null());
}

TEST(Json, NamesThePlaceOfWhatItRefuses) {
  const auto message = [](std::string_view text) { return error_of(text).message; };
  EXPECT_EQ(message(R"({"on": "yes"})"), R"(result.on: expected true or false, got "yes")");
  EXPECT_EQ(message(R"({"small": 128})"),
            "result.small: expected an integer between -128 and 127, got 128");
  EXPECT_EQ(message(R"({"small": 1.0})"),
            "result.small: expected an integer between -128 and 127, got 1.0");
  EXPECT_EQ(message(R"({"small": 11})"), "result.small: expected at most 10, got 11");
  EXPECT_EQ(message(R"({"ratio": -0.5})"), "result.ratio: expected at least 0, got -0.5");
  EXPECT_EQ(message(R"({"large": -1})"),
            "result.large: expected an integer between 0 and 18446744073709551615, got -1");
  EXPECT_EQ(message(R"({"level": "mid"})"),
            R"(result.level: expected one of low, high, got "mid")");
  EXPECT_EQ(message(R"({"wait": "5"})"),
            R"(result.wait: expected a duration such as 30s or 250ms, got "5")");
  EXPECT_EQ(message(R"({"wait": 5})"),
            "result.wait: expected a string such as 30s or 250ms, got 5");
  EXPECT_EQ(message(R"({"list": {}})"), "result.list: expected an array, got {}");
  EXPECT_EQ(message(R"({"list": [{"name": "a"}, {}]})"), "result.list[1].name: missing");
  EXPECT_EQ(message(R"({"map": {"x": {"name": 1}}})"),
            "result.map.x.name: expected a string, got 1");
  EXPECT_EQ(message("[]"), "result: expected an object, got []");
}

TEST(Json, SaysWhereATextIsNotJson) {
  const auto json = parse_json("{\"a\": 1,\n \"b\" 2}");
  ASSERT_FALSE(json);
  EXPECT_EQ(json.error().kind, ErrorKind::input);
  EXPECT_TRUE(json.error().message.starts_with("not JSON: parse error at line 2, column 6"))
      << json.error().message;
}

TEST(Json, DumpsInvalidUtf8WithoutThrowing) {
  EXPECT_EQ(dump_json(Json("a\xff")), "\"a\xEF\xBF\xBD\"");
}

TEST(JsonSchema, SaysWhatTheReaderAccepts) {
  const auto schema = json_schema<Outer>();
  EXPECT_EQ(schema["type"], "object");
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_FALSE(schema.contains("required"));
  const auto& properties = schema["properties"];
  EXPECT_EQ(properties["small"]["type"], "integer");
  EXPECT_EQ(properties["small"]["minimum"], -10);
  EXPECT_EQ(properties["small"]["maximum"], 10);
  EXPECT_EQ(properties["small"]["default"], -5);
  EXPECT_EQ(properties["small"]["description"], "A small one.");
  EXPECT_EQ(properties["level"]["enum"], (Json{"low", "high"}));
  EXPECT_EQ(properties["wait"]["pattern"], std::string(StringScalar<Duration>::pattern));
  EXPECT_EQ(properties["wait"]["default"], "5ms");
  EXPECT_EQ(properties["list"]["items"]["required"], Json::array({"name"}));
  EXPECT_EQ(properties["map"]["additionalProperties"]["properties"]["weight"]["type"], "integer");
  EXPECT_FALSE(properties["anything"].contains("type"));
}

}  // namespace
}  // namespace base
