// Includes only point down, in the order of src/CMakeLists.txt and operator/CMakeLists.txt, and each outside
// library is spoken to in one place.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/paths.hpp"

namespace pgrunbook {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = PGRUNBOOK_SOURCE_DIR;

std::vector<std::string> lines(const fs::path& path) {
  std::ifstream in(path);
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

struct Layer {
  std::string tree, folder;
  std::vector<std::string> links;  // layers it names itself
};

// name -> layer, as the build files have them; each may name only layers above it, which this checks too.
const std::map<std::string, Layer>& layers() {
  static const std::map<std::string, Layer> all = [] {
    std::map<std::string, Layer> out;
    std::regex declared(R"(^pgrunbook_layer\((\S+) (\S+)([^)]*)\))"), word(R"(\S+)");
    for (const char* tree : {"src", "operator"}) {
      for (const std::string& line : lines(kRoot / tree / "CMakeLists.txt")) {
        std::smatch m;
        if (!std::regex_search(line, m, declared)) continue;
        Layer layer{tree, m[2], {}};
        std::string rest = m[3];
        for (std::sregex_iterator it(rest.begin(), rest.end(), word), end; it != end; ++it) {
          if (it->str().rfind("pgr_", 0) != 0) continue;
          EXPECT_TRUE(out.count(it->str()) == 1)
              << m[1] << " links " << it->str() << ", which does not stand above it";
          layer.links.push_back(it->str());
        }
        out[m[1]] = layer;
      }
    }
    return out;
  }();
  return all;
}

// The folders a layer may include from: its own, and those of all it links, however far.
std::set<std::string> reach(const std::string& name) {
  const Layer& layer = layers().at(name);
  std::set<std::string> out = {layer.folder};
  for (const std::string& below : layer.links) out.merge(reach(below));
  return out;
}

struct Include {
  fs::path file;  // relative to the root
  std::string tree, folder, path;
  bool quoted;
};

const std::vector<Include>& includes() {
  static const std::vector<Include> all = [] {
    std::vector<Include> out;
    std::regex include(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");
    for (const char* tree : {"src", "operator"}) {
      for (const auto& entry : fs::recursive_directory_iterator(kRoot / tree)) {
        if (entry.path().extension() != ".cpp" && entry.path().extension() != ".hpp") continue;
        fs::path file = fs::relative(entry.path(), kRoot);
        std::string folder = file.parent_path() == fs::path(tree) ? "" : std::next(file.begin())->string();
        for (const std::string& line : lines(entry.path())) {
          std::smatch m;
          if (line.find("include") != std::string::npos && std::regex_search(line, m, include))
            out.push_back({file, tree, folder, m[2], m[1] == "\""});
        }
      }
    }
    return out;
  }();
  return all;
}

TEST(Layers, AreRead) {
  EXPECT_GE(layers().size(), 12U);
  EXPECT_GE(includes().size(), 300U);
  EXPECT_EQ(reach("pgr_base"), std::set<std::string>{"base"});
  EXPECT_EQ(reach("pgr_plan"), (std::set<std::string>{"plan", "api", "postgres", "base"}));
  EXPECT_EQ(reach("pgr_agent"), (std::set<std::string>{"agent", "api", "archive", "postgres", "base"}));
}

TEST(Layers, EveryFolderIsOne) {
  std::set<std::string> folders;
  for (const auto& [name, layer] : layers()) folders.insert(layer.tree + "/" + layer.folder);
  for (const char* tree : {"src", "operator"}) {
    for (const auto& entry : fs::directory_iterator(kRoot / tree)) {
      if (!entry.is_directory()) continue;
      EXPECT_EQ(folders.count(std::string(tree) + "/" + entry.path().filename().string()), 1U)
          << entry.path();
    }
  }
}

TEST(Layers, OnlyPointDown) {
  std::map<std::string, std::string> name_of;
  for (const auto& [name, layer] : layers()) name_of[layer.folder] = name;
  for (const Include& i : includes()) {
    if (!i.quoted || i.folder.empty()) continue;  // the programs' main files link what they like
    std::size_t slash = i.path.find('/');
    ASSERT_NE(slash, std::string::npos)
        << i.file << " includes \"" << i.path << "\" without naming the layer";
    std::set<std::string> may = reach(name_of.at(i.folder));
    EXPECT_EQ(may.count(i.path.substr(0, slash)), 1U)
        << i.file << " includes \"" << i.path << "\", a layer that its own does not link";
    EXPECT_TRUE(fs::exists(kRoot / "src" / i.path) || fs::exists(kRoot / "operator" / i.path))
        << i.file << " includes " << i.path;
  }
}

TEST(Layers, LibrariesKnowNothingOfTheKinds) {
  for (const Include& i : includes()) {
    if (i.tree != "src" || !i.quoted) continue;
    EXPECT_TRUE(fs::exists(kRoot / "src" / i.path))
        << i.file << " includes \"" << i.path << "\" of operator/";
  }
}

struct Outside {
  const char* library;
  const char* pattern;
  const char* place;  // of every file that may include it
};

class OutsideLibraries : public ::testing::TestWithParam<Outside> {};

TEST_P(OutsideLibraries, AreSpokenToInOnePlace) {
  std::regex pattern(GetParam().pattern);
  int seen = 0;
  for (const Include& i : includes()) {
    if (!std::regex_search(i.path, pattern)) continue;
    ++seen;
    EXPECT_EQ(i.file.string().rfind(GetParam().place, 0), 0U) << i.file << " includes <" << i.path << ">";
  }
  EXPECT_GT(seen, 0) << "nobody includes it any more";
}

INSTANTIATE_TEST_SUITE_P(
    Table, OutsideLibraries,
    ::testing::Values(Outside{"Cpprest", "^(cpprest|pplx)/", "src/kube/transport_cpprest.cpp"},
                      Outside{"Libpq", "^(postgresql/)?(libpq|pg_config)", "src/sql/"},
                      Outside{"Zstd", "^zstd", "src/archive/"}, Outside{"YamlCpp", "^yaml-cpp/", "src/kube/"},
                      Outside{"Spdlog", "^spdlog/", "src/runtime/"}),
    [](const auto& param) { return std::string(param.param.library); });

TEST(Agent, KnowsNeitherTheApiServerNorLibpq) {
  std::set<std::string> may = reach("pgr_agent");
  for (const char* not_linked : {"kube", "runtime", "sql"})
    EXPECT_EQ(may.count(not_linked), 0U) << not_linked;
  for (const Include& i : includes()) {
    if (i.folder != "agent" && i.file != fs::path("operator/agent_main.cpp")) continue;
    std::string first = i.path.substr(0, i.path.find('/'));
    EXPECT_TRUE(!i.quoted || may.count(first) == 1) << i.file << " includes \"" << i.path << "\"";
    EXPECT_TRUE(i.path.find("cpprest") == std::string::npos && i.path.find("libpq-fe") == std::string::npos)
        << i.file;
  }
}

}  // namespace
}  // namespace pgrunbook
