// HDF5 files that lead elsewhere, or claim more than they hold.
#include <hdf5.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/hdf5_file.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class Hdf5UntrustedTest : public DataTest {
 protected:
  void SetUp() override {
    (void)Hdf5Version();  // the wrapper sets the library up first
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    file_ = H5Fcreate(Path("a.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    ASSERT_GE(file_, 0);
    layout_ = H5Pcreate(H5P_DATASET_CREATE);
  }

  void AddDataset(const char* name, std::vector<hsize_t> shape) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t id =
        H5Dcreate2(file_, name, H5T_STD_U8LE, space, H5P_DEFAULT, layout_, H5P_DEFAULT);
    ASSERT_GE(id, 0) << name;
    H5Dclose(id);
    H5Sclose(space);
  }

  // The error of reading a dataset of bytes. Closes what the test has made.
  std::string ErrorOf(const std::string& name) {
    H5Pclose(layout_);
    H5Fclose(file_);
    const auto file = Hdf5File::OpenReadOnly(Path("a.h5"));
    EXPECT_TRUE(file.ok()) << file.status();
    const auto values = file->Read<uint8_t>(name);
    return values.ok() ? "" : std::string(values.status().message());
  }
  void ExpectRefused(const std::string& name, const std::string& why) {
    const std::string error = ErrorOf(name);
    EXPECT_TRUE(absl::StrContains(error, why)) << error;
    EXPECT_TRUE(absl::StrContains(error, Path("a.h5"))) << error;
    EXPECT_TRUE(absl::StrContains(error, name)) << error;
  }

  hid_t file_ = -1, layout_ = -1;
};

TEST_F(Hdf5UntrustedTest, AnOrdinaryDatasetIsRead) {
  AddDataset("bytes", {16});
  H5Lcreate_soft("/bytes", file_, "same", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_EQ(ErrorOf("same"), "");
}

TEST_F(Hdf5UntrustedTest, ExternalStorageIsRefused) {
  WriteText("secret", "0123456789abcdef");
  H5Pset_external(layout_, Path("secret").c_str(), 0, 16);
  AddDataset("bytes", {16});
  ExpectRefused("bytes", "keeps its values in other files");
}

TEST_F(Hdf5UntrustedTest, VirtualDatasetsAreRefused) {
  const hsize_t size = 16;
  const hid_t space = H5Screate_simple(1, &size, nullptr);
  H5Pset_virtual(layout_, space, Path("other.h5").c_str(), "bytes", space);
  H5Sclose(space);
  AddDataset("bytes", {16});
  ExpectRefused("bytes", "keeps its values in other files");
}

// The class of external links is not registered any more, so it is for as long as one is made.
TEST_F(Hdf5UntrustedTest, LinksOutOfTheFileAreRefused) {
  const H5L_class_t link_class = {
      H5L_LINK_CLASS_T_VERS,
      H5L_TYPE_EXTERNAL,
      "external",
      nullptr,
      nullptr,
      nullptr,
      [](const char*, hid_t, const void*, size_t, hid_t, hid_t) { return hid_t{-1}; },
      nullptr,
      nullptr};
  ASSERT_GE(H5Lregister(&link_class), 0);
  const std::string target = absl::StrCat(std::string(1, '\0'), Path("other.h5"),
                                          std::string(1, '\0'), "/bytes", std::string(1, '\0'));
  EXPECT_GE(H5Lcreate_ud(file_, "bytes", H5L_TYPE_EXTERNAL, target.data(), target.size(),
                         H5P_DEFAULT, H5P_DEFAULT),
            0);
  H5Lunregister(H5L_TYPE_EXTERNAL);
  const hid_t linking = file_;
  file_ = H5Fcreate(Path("other.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  AddDataset("bytes", {16});
  H5Fclose(file_);
  file_ = linking;
  ExpectRefused("bytes", "is a link out of the file");
}

TEST_F(Hdf5UntrustedTest, FiltersAreRefused) {
  const hsize_t chunk = 16;
  H5Pset_chunk(layout_, 1, &chunk);
  H5Pset_shuffle(layout_);
  AddDataset("bytes", {16});
  ExpectRefused("bytes", "is compressed or filtered");
}

TEST_F(Hdf5UntrustedTest, DatasetsLargerThanTheFileAreRefused) {
  const hsize_t chunk = 4096;
  H5Pset_chunk(layout_, 1, &chunk);
  AddDataset("bytes", {hsize_t{1} << 62});
  ExpectRefused("bytes", "claims 4611686018427387904 values, more than the file's");
}

TEST_F(Hdf5UntrustedTest, OtherFormatsOfTheStructureAreRefused) {
  H5Fclose(file_);
  H5Pclose(layout_);
  std::fstream file(Path("a.h5"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(8);
  file.put(0);
  file.close();
  EXPECT_TRUE(absl::StrContains(Hdf5File::OpenReadOnly(Path("a.h5")).status().message(),
                                "not an HDF5 file of the 1.10 format"));
  EXPECT_FALSE(Hdf5File::OpenReadOnly(folder_).ok());
}

TEST_F(Hdf5UntrustedTest, NoPluginIsLoaded) {
  H5Pclose(layout_);
  H5Fclose(file_);
  unsigned mask = 1;
  ASSERT_GE(H5PLget_loading_state(&mask), 0);
  EXPECT_EQ(mask, 0u);
}

}  // namespace
}  // namespace wyvern
