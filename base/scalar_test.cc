#include "base/scalar.h"

#include <regex>

#include <gtest/gtest.h>

namespace base {
namespace {

using namespace std::chrono_literals;

// What is written reads back as the same value; and the pattern of the JSON Schema accepts it.
template <typename T>
void expect_round_trip(const T& value) {
  const auto text = StringScalar<T>::format(value);
  const auto read = StringScalar<T>::parse(text);
  ASSERT_TRUE(read) << text << ": " << read.error().message;
  EXPECT_EQ(*read, value) << text;
  EXPECT_TRUE(std::regex_match(text, std::regex(std::string(StringScalar<T>::pattern)))) << text;
}

template <typename T>
void expect_refused(std::initializer_list<std::string_view> texts) {
  for (const auto text : texts) {
    const auto read = StringScalar<T>::parse(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().kind, ErrorKind::input);
    EXPECT_TRUE(read.error().message.starts_with("expected ")) << read.error().message;
    EXPECT_TRUE(read.error().message.ends_with(fmt::format("got \"{}\"", text)))
        << read.error().message;
    EXPECT_FALSE(
        std::regex_match(std::string(text), std::regex(std::string(StringScalar<T>::pattern))))
        << "the schema would accept " << text;
  }
}

TEST(DurationScalar, ReadsEveryUnit) {
  const auto read = [](std::string_view text) { return StringScalar<Duration>::parse(text); };
  EXPECT_EQ(read("10ns"), Duration(10));
  EXPECT_EQ(read("1.5us"), 1500ns);
  EXPECT_EQ(read("250ms"), 250ms);
  EXPECT_EQ(read("30s"), 30s);
  EXPECT_EQ(read("2m"), 2min);
  EXPECT_EQ(read("1h"), 1h);
  EXPECT_EQ(read("0s"), 0ns);
  EXPECT_EQ(read("0.1us"), 100ns);
}

TEST(DurationScalar, RefusesNumbersWithoutUnitAndUnitsWithoutNumber) {
  expect_refused<Duration>({"", "30", "s", "30 s", "-1s", "+1s", "1e3s", ".5s", "5.s", "1.2.3s",
                            "30sec", "30S", "0x10s", "1_000s", "30s ", "inf s"});
}

TEST(DurationScalar, RefusesWhatDoesNotFitNanoseconds) {
  EXPECT_TRUE(StringScalar<Duration>::parse("2499999h"));
  EXPECT_FALSE(StringScalar<Duration>::parse("2500001h"));
  EXPECT_FALSE(StringScalar<Duration>::parse("99999999999999999999999h"));
}

TEST(DurationScalar, WritesTheLargestUnitThatIsExact) {
  const auto write = [](Duration value) { return StringScalar<Duration>::format(value); };
  EXPECT_EQ(write(0ns), "0s");
  EXPECT_EQ(write(1ns), "1ns");
  EXPECT_EQ(write(1500ns), "1500ns");
  EXPECT_EQ(write(250us), "250us");
  EXPECT_EQ(write(300ms), "300ms");
  EXPECT_EQ(write(90s), "90s");
}

TEST(DurationScalar, ReadsBackWhatItWrites) {
  for (const auto value : {0ns, 1ns, 999ns, 1001ns, 123456789ns})
    expect_round_trip<Duration>(value);
  for (const Duration value : {Duration(60s), Duration(1h), Duration(8'999'999'999'000'000'000)}) {
    expect_round_trip(value);
  }
}

TEST(RateScalar, ReadsPlainAndThousands) {
  EXPECT_EQ(StringScalar<RequestRate>::parse("2000/s"), RequestRate{2000});
  EXPECT_EQ(StringScalar<RequestRate>::parse("2.5k/s"), RequestRate{2500});
  expect_refused<RequestRate>(
      {"", "2000", "2000/m", "/s", "-1/s", "2000 /s", "2K/s", "1e3/s", "2000/S"});
}

TEST(RateScalar, ReadsBackWhatItWrites) {
  for (const double rate : {0.0, 0.1, 1.0 / 3, 2000.0, 1e-9, 123456.789, 1e16, 1e20, 1e300}) {
    expect_round_trip(RequestRate{rate});
  }
  EXPECT_EQ(StringScalar<RequestRate>::format({1e20}), "100000000000000000000/s");
}

TEST(RateScalar, RefusesWhatNoDoubleHolds) {
  EXPECT_FALSE(StringScalar<RequestRate>::parse(std::string(400, '9') + "/s"));
  EXPECT_FALSE(StringScalar<RequestRate>::parse("1" + std::string(308, '0') + "k/s"));
}

TEST(DataRateScalar, ReadsPowersOf1000) {
  EXPECT_EQ(StringScalar<DataRate>::parse("800B/s"), DataRate{800});
  EXPECT_EQ(StringScalar<DataRate>::parse("800kB/s"), DataRate{8e5});
  EXPECT_EQ(StringScalar<DataRate>::parse("500MB/s"), DataRate{5e8});
  EXPECT_EQ(StringScalar<DataRate>::parse("1.5GB/s"), DataRate{1.5e9});
  for (const auto* text : {"", "500", "500MB", "MB/s", "-1MB/s", "500MiB/s", "500 MB/s", "5Mb/s"}) {
    EXPECT_FALSE(StringScalar<DataRate>::parse(text)) << text;
  }
}

TEST(DataRateScalar, ReadsBackWhatItWrites) {
  for (const double rate : {0.0, 0.5, 999.0, 1e3, 1.5e9, 123'456'789.0, 1.0 / 3, 1e300}) {
    expect_round_trip(DataRate{rate});
  }
  EXPECT_EQ(StringScalar<DataRate>::format({5e8}), "500MB/s");
  EXPECT_EQ(StringScalar<DataRate>::format({1.5e9}), "1500MB/s");
}

TEST(BytesScalar, ReadsPowersOf1024) {
  EXPECT_EQ(StringScalar<Bytes>::parse("64B"), Bytes{64});
  EXPECT_EQ(StringScalar<Bytes>::parse("16KiB"), Bytes{16384});
  EXPECT_EQ(StringScalar<Bytes>::parse("1MiB"), Bytes{1048576});
  EXPECT_EQ(StringScalar<Bytes>::parse("2GiB"), Bytes{2147483648});
  expect_refused<Bytes>({"", "64", "16K", "16KB", "16kb", "1.5KiB", "-1B", "16 KiB", "B"});
}

TEST(BytesScalar, ReadsBackWhatItWrites) {
  for (const std::uint64_t count :
       {0ul, 1ul, 1023ul, 1024ul, 1025ul, 65536ul, 1ul << 20, 3ul << 30, (1ul << 40) + 1}) {
    expect_round_trip(Bytes{count});
  }
  EXPECT_EQ(StringScalar<Bytes>::format({16384}), "16KiB");
}

TEST(PercentScalar, ReadsSignedShares) {
  EXPECT_EQ(StringScalar<Percent>::parse("+5%"), Percent{0.05});
  EXPECT_EQ(StringScalar<Percent>::parse("-3%"), Percent{-0.03});
  EXPECT_EQ(StringScalar<Percent>::parse("2.5%"), Percent{0.025});
  expect_refused<Percent>({"", "5", "%", "5 %", "+-5%", "++5%", ".5%", "5%%", "1e1%"});
}

TEST(PercentScalar, ReadsBackWhatItWrites) {
  for (const auto* text : {"0%", "-0%", "+7%", "-3%", "0.1%", "33.333333%", "+1000%"}) {
    const auto value = StringScalar<Percent>::parse(text);
    ASSERT_TRUE(value) << text;
    expect_round_trip(*value);
  }
  EXPECT_EQ(StringScalar<Percent>::format({0.07}), "+7%");
  EXPECT_EQ(StringScalar<Percent>::format({-0.03}), "-3%");
  EXPECT_EQ(StringScalar<Percent>::format({-0.0}), "+0%");
}

TEST(PercentScalar, KeepsSharesBelowAMillionthOfAPercent) {
  const auto tiny = StringScalar<Percent>::parse("0.0000001%");
  ASSERT_TRUE(tiny);
  const auto again = StringScalar<Percent>::parse(StringScalar<Percent>::format(*tiny));
  ASSERT_TRUE(again);
  EXPECT_DOUBLE_EQ(again->fraction, tiny->fraction);
}

TEST(AddressScalars, ReadBackWhatTheyWrite) {
  for (const auto* text : {"10.244.1.2", "fd00::1", "::"}) {
    expect_round_trip(*StringScalar<IpAddress>::parse(text));
  }
  for (const auto* text : {"10.244.1.2:80", "[fd00::1]:7001"}) {
    expect_round_trip(*StringScalar<Endpoint>::parse(text));
  }
}

enum class Fruit { apple, sour_cherry };

}  // namespace

template <>
struct EnumNames<Fruit> {
  static constexpr std::array names{std::pair{Fruit::apple, std::string_view("apple")},
                                    std::pair{Fruit::sour_cherry, std::string_view("sour_cherry")}};
};

namespace {

TEST(NamedEnum, HasOneSpelling) {
  EXPECT_EQ(enum_name(Fruit::sour_cherry), "sour_cherry");
  EXPECT_EQ(enum_from_name<Fruit>("apple"), Fruit::apple);
  EXPECT_EQ(enum_from_name<Fruit>("Apple"), std::nullopt);
  EXPECT_EQ(enum_names<Fruit>(), (std::vector<std::string_view>{"apple", "sour_cherry"}));
}

TEST(NearestName, ForgivesASlipOfTheFingers) {
  const std::vector<std::string_view> known{"duration", "connections", "wait", "rate"};
  EXPECT_EQ(nearest_name("duratoin", known), "duration");   // neighbours swapped
  EXPECT_EQ(nearest_name("durration", known), "duration");  // one too many
  EXPECT_EQ(nearest_name("conections", known), "connections");
  EXPECT_EQ(nearest_name("rat", known), "rate");
}

TEST(NearestName, DoesNotGuess) {
  EXPECT_EQ(nearest_name("colour", {"duration", "wait"}), std::nullopt);
  EXPECT_EQ(nearest_name("", {"wait"}), std::nullopt);
  EXPECT_EQ(nearest_name("wait", {}), std::nullopt);
}

TEST(NearestName, PrefersTheCloser) {
  EXPECT_EQ(nearest_name("tcp_crx", {"tcp_rr", "tcp_crr"}), "tcp_crr");
  // The first of two that are equally near, so that messages do not depend on chance.
  EXPECT_EQ(nearest_name("tcp_r", {"tcp_ra", "tcp_rb"}), "tcp_ra");
}

TEST(NearestName, IsQuickWhereTheTextIsNoNameAtAll) {
  const std::string page(std::size_t{1} << 20, 'a');
  const std::string other = page + "b";
  EXPECT_EQ(nearest_name(page, {"duration", other}), std::nullopt);
}

}  // namespace
}  // namespace base
