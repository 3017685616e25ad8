/*
 * progress.pml
 *		The progress report that a backend changes and others read without a lock.
 *
 * MODEL						SOURCE (cache/progress.c)
 *	writer						begin_change, the fields, end_change
 *	reader						KnnProgressRead, with two tries in place of 1000
 *
 * Two fields stand for all; they belong together when they are equal.  On a weakly
 * ordered machine (arm64) stores between two write barriers, and loads between two
 * read barriers, come in any order: both orders of the fields are tried.  The
 * mutations leave out one barrier each, so that an access passes it.
 *
 * PROPERTY.  A report that is returned is one that was written as a whole.
 *
 * MUTATIONS
 *	BREAK_BEGIN			a field is written before the version is odd
 *	BREAK_END			a field is written after the version is even again
 *	BREAK_READ_FIRST	a field is read before the version
 *	BREAK_READ_LAST		a field is read after the version is read again
 *	BREAK_ODD			a report is taken although the version is odd
 */
byte version;
byte a, b;

proctype writer()
{
	byte i = 1;

	do
	:: i <= 2 ->
#ifdef BREAK_BEGIN
		a = i;
		version++;
		b = i;
		version++;
#elif defined(BREAK_END)
		version++;
		a = i;
		version++;
		b = i;
#else
		version++;
		if
		:: a = i; b = i
		:: b = i; a = i
		fi;
		version++;
#endif
		i++
	:: else -> break
	od
}

proctype reader()
{
	byte tries, v, ra, rb, w;

	do
	:: tries < 2 ->
#ifdef BREAK_READ_FIRST
		ra = a;
		v = version;
		rb = b;
		w = version;
#elif defined(BREAK_READ_LAST)
		v = version;
		ra = a;
		w = version;
		rb = b;
#else
		v = version;
		if
		:: ra = a; rb = b
		:: rb = b; ra = a
		fi;
		w = version;
#endif
		if
#ifdef BREAK_ODD
		:: v == w -> assert(ra == rb); break
#else
		:: v == w && v % 2 == 0 -> assert(ra == rb); break
#endif
		:: else -> tries++
		fi
	:: else -> break
	od
}

init
{
	atomic {
		run writer();
		run reader();
		run reader()
	}
}
