# Apache Arrow's Parquet library, for data/text/parquet_reader.cc: the installed one (its CMake package), or
# else the libraries and headers of PyPI's pyarrow, fetched once into the build tree, or else those of a
# pyarrow that python3 has. Debian has no package of it.
set(WYVERN_PARQUET AUTO CACHE STRING "Read Parquet files through Apache Arrow: ON, OFF, or AUTO: where it can be had")
set_property(CACHE WYVERN_PARQUET PROPERTY STRINGS AUTO ON OFF)
set(WYVERN_PYARROW_VERSION 26.0.1)
set(PYARROW_DIR ${CMAKE_SOURCE_DIR}/build/_deps/pyarrow-${WYVERN_PYARROW_VERSION})

# Makes wyvern::parquet of a folder with pyarrow's libraries, whose names have the version behind them alone.
function(wyvern_parquet_of INCLUDE FOLDER)
  foreach(NAME arrow parquet)
    file(GLOB LIBRARY ${FOLDER}/lib${NAME}.so ${FOLDER}/lib${NAME}.so.*)
    if(NOT LIBRARY)
      return()
    endif()
    list(GET LIBRARY 0 LIBRARY)
    get_filename_component(SONAME ${LIBRARY} NAME)
    list(APPEND LIBRARIES ${LIBRARY})
    add_library(wyvern_${NAME} SHARED IMPORTED GLOBAL)
    set_target_properties(wyvern_${NAME} PROPERTIES IMPORTED_LOCATION ${LIBRARY} IMPORTED_SONAME ${SONAME})
  endforeach()
  wyvern_imported(wyvern::parquet ${INCLUDE} wyvern_parquet wyvern_arrow)
  # A package brings them along, as Debian has none.
  set(WYVERN_ARROW_LIBRARIES ${LIBRARIES} PARENT_SCOPE)
  file(GLOB LICENSES ${PYARROW_DIR}/*/licenses/*)
  set(WYVERN_ARROW_LICENSES ${LICENSES} PARENT_SCOPE)
endfunction()

if(WYVERN_PARQUET)
  find_package(Parquet QUIET CONFIG)
  if(TARGET Parquet::parquet_shared)
    add_library(wyvern::parquet INTERFACE IMPORTED GLOBAL)
    target_link_libraries(wyvern::parquet INTERFACE Parquet::parquet_shared)
  endif()
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(NOT TARGET wyvern::parquet AND Python3_FOUND AND NOT EXISTS ${PYARROW_DIR}/pyarrow/include)
    message(STATUS "Fetching pyarrow ${WYVERN_PYARROW_VERSION} from PyPI (50 MB; -DWYVERN_PARQUET=OFF does without)")
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps --only-binary :all: --retries 1
              --disable-pip-version-check -d ${PYARROW_DIR} pyarrow==${WYVERN_PYARROW_VERSION}
      ERROR_VARIABLE WHY OUTPUT_QUIET)
    file(GLOB WHEEL ${PYARROW_DIR}/*.whl)
    if(WHEEL)
      file(ARCHIVE_EXTRACT INPUT ${WHEEL} DESTINATION ${PYARROW_DIR}
           PATTERNS pyarrow/include/* pyarrow/libarrow.so.* pyarrow/libparquet.so.* */licenses/*)
      file(REMOVE ${WHEEL})
    endif()
  endif()
  if(NOT TARGET wyvern::parquet)
    wyvern_parquet_of(${PYARROW_DIR}/pyarrow/include ${PYARROW_DIR}/pyarrow)
  endif()
  if(NOT TARGET wyvern::parquet AND Python3_FOUND)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
              "import pyarrow; print(pyarrow.get_include(), *pyarrow.get_library_dirs(), sep=';')"
      OUTPUT_VARIABLE FOLDERS OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(POP_FRONT FOLDERS INCLUDE)
    foreach(FOLDER IN LISTS FOLDERS)
      if(NOT TARGET wyvern::parquet)
        wyvern_parquet_of("${INCLUDE}" ${FOLDER})
      endif()
    endforeach()
  endif()
  if(NOT TARGET wyvern::parquet)
    string(STRIP "${WHY}" WHY)
    if(NOT WYVERN_PARQUET STREQUAL AUTO)
      message(FATAL_ERROR "Apache Arrow is missing, which reads Parquet files: pyarrow could not be fetched "
              "from PyPI (${WHY}). Install it for python3 (pip install pyarrow), or leave WYVERN_PARQUET out.")
    endif()
    message(STATUS "Apache Arrow is not there (pip install pyarrow): this build reads no Parquet files")
  endif()
endif()
