/*
 * hdf5.c
 *		The HDF5 files of ann-benchmarks: train, test, neighbors, and the
 *		attribute "distance".  Built in where libhdf5 was found.
 */
#include "dataset.h"
#include "fail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef HAVE_HDF5

void
read_hdf5(const char *path, matrix_t *base, matrix_t *query, int32_t **truth,
		  size_t *truth_rows, size_t *truth_k, metric_t *metric)
{
	(void) base, (void) query, (void) truth, (void) truth_rows, (void) truth_k, (void) metric;
	die("\"%s\": built without HDF5; install libhdf5-dev and build again, or convert the file to .fvecs",
		path);
}

#else

#include <hdf5.h>

static void *
read_table(hid_t file, const char *path, const char *name, hid_t type, size_t element,
		   size_t max_columns, size_t *rows, size_t *columns)
{
	hid_t		set = H5Dopen2(file, name, H5P_DEFAULT);
	hid_t		space;
	hsize_t		extent[2];
	size_t		cells;
	void	   *values;

	if (set < 0)
		die("\"%s\" has no data set \"%s\"; it does not look like a file of ann-benchmarks",
			path, name);
	space = H5Dget_space(set);
	if (H5Sget_simple_extent_ndims(space) != 2)
		die("\"%s\": \"%s\" is not a two-dimensional table", path, name);
	H5Sget_simple_extent_dims(space, extent, NULL);
	if (extent[0] == 0 || extent[1] == 0 || extent[0] > INT32_MAX || extent[1] > max_columns ||
		__builtin_mul_overflow((size_t) extent[0], (size_t) extent[1], &cells))
		die("\"%s\": \"%s\" is %llu x %llu, out of range", path, name,
			(unsigned long long) extent[0], (unsigned long long) extent[1]);
	values = alloc_array(cells, element);
	if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
		die("\"%s\": cannot read \"%s\" as numbers", path, name);
	H5Sclose(space);
	H5Dclose(set);
	*rows = (size_t) extent[0];
	*columns = (size_t) extent[1];
	return values;
}

static void
read_vectors(hid_t file, const char *path, const char *name, matrix_t *m)
{
	size_t		columns;

	m->values = read_table(file, path, name, H5T_NATIVE_FLOAT, sizeof(float), DATASET_MAX_DIM,
						   &m->rows, &columns);
	m->dim = (uint32_t) columns;
	for (size_t i = 0; i < m->rows * columns; i++)
		if (!isfinite(m->values[i]))
			die("\"%s\": \"%s\", row %zu holds a number that is not finite", path, name, i / columns);
}

static metric_t
read_metric(hid_t file)
{
	metric_t	metric = METRIC_UNKNOWN;
	hid_t		attribute,
				type;

	if (H5Aexists(file, "distance") <= 0)
		return METRIC_UNKNOWN;
	attribute = H5Aopen(file, "distance", H5P_DEFAULT);
	type = H5Aget_type(attribute);
	if (H5Tget_class(type) == H5T_STRING)
	{
		if (H5Tis_variable_str(type) > 0)
		{
			char	   *s = NULL;

			if (H5Aread(attribute, type, &s) >= 0 && s != NULL)
			{
				metric = metric_from_name(s);
				H5free_memory(s);
			}
		}
		else
		{
			size_t		n = H5Tget_size(type);
			char	   *s = alloc_array(n + 1, 1);

			memset(s, 0, n + 1);
			if (H5Aread(attribute, type, s) >= 0)
				metric = metric_from_name(s);
			free(s);
		}
	}
	H5Tclose(type);
	H5Aclose(attribute);
	return metric;
}

void
read_hdf5(const char *path, matrix_t *base, matrix_t *query, int32_t **truth,
		  size_t *truth_rows, size_t *truth_k, metric_t *metric)
{
	hid_t		file;

	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);	/* our messages, not the library's */
	file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
	if (file < 0)
		die("\"%s\" is not a readable HDF5 file", path);
	read_vectors(file, path, "train", base);
	read_vectors(file, path, "test", query);
	if (H5Lexists(file, "neighbors", H5P_DEFAULT) > 0)
		*truth = read_table(file, path, "neighbors", H5T_NATIVE_INT32, sizeof(int32_t), UINT32_MAX,
							truth_rows, truth_k);
	*metric = read_metric(file);
	H5Fclose(file);
}

#endif
